"""The command line of a run."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass

#: Jobs, kills, deaths at each named point, and seconds for all faults.
USUAL = (2_000, 40, 10, 150.0)
LONG = (10_000, 200, 30, 1_500.0)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run; see `asked`."""

    jobs: int
    kills: int
    points: int
    span_s: float
    seed: int
    durability: str
    without: str


def asked(about: str, arguments: list[str] | None = None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--long", action="store_true", help="10,000 jobs, 200 kills, some 30 minutes"
    )
    parser.add_argument("--jobs", type=int, help="how many (2,000)")
    parser.add_argument("--kills", type=int, help="of workers, beside those at named points (40)")
    parser.add_argument("--points", type=int, help="deaths at each named point (10)")
    parser.add_argument("--span", type=float, help="seconds in which all goes wrong (150)")
    parser.add_argument("--seed", type=int, help="of schedule and jobs; drawn where left out")
    parser.add_argument("--durability", choices=("always", "everysec"), default="always")
    parser.add_argument("--without", choices=("sweeper", "fences"), default="", help="it must fail")
    given = parser.parse_args(arguments)
    wanted = (given.jobs, given.kills, given.points, given.span)
    usual = LONG if given.long else USUAL
    jobs, kills, points, span_s = (
        default if value is None else value for value, default in zip(wanted, usual, strict=True)
    )
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    return Options(
        int(jobs), int(kills), int(points), float(span_s), seed, given.durability, given.without
    )
