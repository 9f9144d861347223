"""Measure how long jobs wait while every actor of a fleet is replaced, beside an undisturbed time.

    python tests/benchmarks/rolling.py            (--rate, --undisturbed, --rounds)

A producer submits at a steady rate. After the undisturbed time each actor is replaced, one after
the other: a new one is started, and once it is ready, the old one is told to stop. Printed are the
50th and 99th percentile of the time between a submit and the claim, and the ratio of the two. Then
follows for each phase how many jobs of each lane waited for less than 10, 30, 100, 300 ms, ...: a
new process takes the processors while it starts, an old one passes its work on while it stops.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from local.fleet import Fleet  # noqa: E402 - of the path above
from local.process import Process  # noqa: E402 - likewise

Job = dict[str, Any]

ACTORS = ("router", "local", "bedrock", "sweeper")
POLICY = (
    "[defaults]\nscan_secrets = false\ndaily_budget_usd = inf\n[fleet]\ndaily_budget_usd = inf\n"
)
LOAD = ROOT / "tests" / "support" / "steady_load.py"


BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, float("inf"))


class Phase(NamedTuple):
    """What happened from a second of the load on."""

    name: str
    from_s: float


def main() -> None:
    """Print a line for each round, and how long jobs waited in each phase of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=16.0, help="jobs a second")
    parser.add_argument("--undisturbed", type=float, default=15.0, help="seconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':>12} {'undisturbed':>17} {'replaced':>17} {'p99':>6} {'p50':>6}")
    histogram: defaultdict[tuple[str, str], Counter[float]] = defaultdict(Counter)
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            jobs, phases = _round(Path(name), options.rate, options.undisturbed)
        _print(number + 1, jobs, phases, options.rate)
        for at, job in enumerate(jobs):
            phase = [each.name for each in phases if each.from_s <= at / options.rate][-1]
            bound = next(bound for bound in BOUNDS_S if job["waited_s"] < bound)
            histogram[phase, job["lane"]][bound] += 1
    _print_histogram(histogram)
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


def _round(folder: Path, rate: float, undisturbed_s: float) -> tuple[list[Job], list[Phase]]:
    """Return the jobs in the order of their submit, and what happened meanwhile."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    env = {"FOREBAY_ENGINE": "echo", "FOREBAY_POLICY_FILE": str(policy), "FOREBAY_GRACE_S": "5"}
    with Fleet(folder / "fleet", env) as fleet:
        fleet.start_redis()
        fleet.start("mock_bedrock")
        running = [(part, fleet.start(part)) for part in ACTORS]
        fleet.wait_ready()
        words = [sys.executable, str(LOAD), "--rate", str(rate)]
        environment = {
            **os.environ, "FOREBAY_REDIS_URL": fleet.url, "PYTHONPATH": str(ROOT / "src"),
        }  # fmt: skip
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(words, env=environment, text=True, **pipes) as producer:
            producer.stdout.readline()
            began = time.monotonic()
            time.sleep(undisturbed_s)
            phases = [Phase("undisturbed", 0.0), *_replace_all(fleet, running, began)]
            jobs = json.loads(producer.communicate(timeout=200)[0])
    assert [job for job in jobs if "failed" in job] == []
    return jobs, phases


def _replace_all(
    fleet: Fleet, running: Sequence[tuple[str, Process]], began: float
) -> Iterator[Phase]:
    for part, process in running:
        yield Phase(f"{part} starts", time.monotonic() - began)
        fleet.start(part)
        fleet.wait_ready()
        yield Phase(f"{part} stops", time.monotonic() - began)
        fleet.kill(process, signal.SIGTERM)


def _print(number: int, jobs: Sequence[Job], phases: Sequence[Phase], rate: float) -> None:
    first = int(rate * phases[1].from_s)
    waits = [job["waited_s"] for job in jobs]
    quiet, busy = (
        (statistics.median(half), statistics.quantiles(half, n=100)[-1])
        for half in (waits[:first], waits[first:])
    )
    print(
        f"round {number:6} {quiet[0]:7.3f} {quiet[1]:7.3f} s {busy[0]:7.3f} {busy[1]:7.3f} s "
        f"{busy[1] / quiet[1]:5.1f}x {busy[0] / quiet[0]:5.1f}x",
        flush=True,
    )


def _print_histogram(histogram: Mapping[tuple[str, str], Mapping[float, int]]) -> None:
    heads = "".join(f"{f'< {bound:g} s':>9}" for bound in BOUNDS_S)
    print(f"\n{'phase':18} {'lane':8}{heads}")
    for (phase, lane), counts in histogram.items():
        print(f"{phase:18} {lane:8}" + "".join(f"{counts[bound]:9}" for bound in BOUNDS_S))


if __name__ == "__main__":
    main()
