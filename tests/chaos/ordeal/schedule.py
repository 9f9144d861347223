"""Draw all faults and their times from a seed, before the run begins."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from doom.points import FREEZES, POINTS
from mock_bedrock.spoiled import SPOILED

#: Every malformed field of an answer that is billed, as often as any other.
SPOILS = dict.fromkeys(SPOILED, 1 / (len(SPOILED) + 1))
#: How often the workers of each role are hit, in proportion.
ROLES = {"router": 2, "local": 4, "bedrock": 3, "sweeper": 1}
#: Throttling comes last: while workers die in their calls, few calls are made after it.
STORMS: tuple[dict[str, float], ...] = (
    SPOILS, {"expired": 1.0}, {"hang:5": 0.3}, SPOILS, {"denied": 1.0}, {"half": 0.4},
    {"slow:2": 0.8}, SPOILS, {"not_allowed": 1.0}, {"unavailable": 0.9},
    {"throttle": 0.2, "internal": 0.2, "drop": 0.2, "refuse": 0.1, "malformed": 0.1},
    {"throttle": 0.9},
)  # fmt: skip
STORM_S = 7.0
JUMPS_S = (4, -3)  # seconds by which the clock is wrong, for a while
JUMP_S = 3.0


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """A fault, `at` seconds from the start; `number` picks the victim among several."""

    at: float
    verb: str
    target: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How often each fault happens in one run."""

    kills: int
    each_point: int
    redis: int
    pauses: int
    freezes: int
    producers: int
    jumps: int
    terms: int
    cuts: int
    engines: int
    storms: int

    @classmethod
    def of(cls, kills: int, each_point: int) -> Amounts:
        """Return amounts in proportion to the kills."""
        few, some = max(1, kills // 12), max(1, kills // 5)
        return cls(
            kills, each_point, redis=few, pauses=some, freezes=some, producers=few, jumps=few,
            terms=some, cuts=some, engines=some, storms=max(1, 3 * kills // 10),
        )  # fmt: skip


def plan(seed: int, amounts: Amounts, span_s: float) -> list[Event]:
    """Return the events of a run, in order; storms come early, since their calls take a term."""
    dice = random.Random(f"schedule {seed}")
    parts = (_signals, _points, _faults)
    return sorted(itertools.chain.from_iterable(part(dice, amounts, span_s) for part in parts))


def _signals(dice: random.Random, amounts: Amounts, span_s: float) -> Iterator[Event]:
    verbs = {"kill": amounts.kills, "pause": amounts.pauses, "term": amounts.terms}
    for verb, times in verbs.items():
        for role in dice.choices(list(ROLES), list(ROLES.values()), k=times):
            yield Event(dice.uniform(3, span_s), verb, role, dice.randrange(100))


def _points(dice: random.Random, amounts: Amounts, span_s: float) -> Iterator[Event]:
    for point, roles in POINTS.items():
        # Some more than needed: a worker may meet a point while no job runs.
        for at in _spread(dice, amounts.each_point + max(1, amounts.each_point // 5), 0.9 * span_s):
            yield Event(at, "arm", f"{dice.choice(roles)}.{point}")
    for point, roles in FREEZES.items():
        for at in _spread(dice, amounts.freezes, 0.9 * span_s):
            yield Event(at, "arm", f"{dice.choice(roles)}.{point}")


def _faults(dice: random.Random, amounts: Amounts, span_s: float) -> Iterator[Event]:
    yield from (Event(at, "cut") for at in _spread(dice, amounts.cuts, span_s))
    for number, at in enumerate(_spread(dice, amounts.redis, span_s)):
        yield Event(at, "redis", ("KILL", "TERM")[number % 2])
    for number, at in enumerate(_spread(dice, amounts.producers, span_s)):
        yield Event(at, "producer", number=number)
    for number, at in enumerate(_spread(dice, amounts.jumps, span_s)):
        yield Event(at, "clock", number=number % len(JUMPS_S))
    for number, at in enumerate(_spread(dice, amounts.engines, span_s)):
        yield Event(at, ("crash", "hang")[number % 2], number=dice.randrange(100))
    for number, at in enumerate(_spread(dice, amounts.storms, 0.7 * span_s)):
        yield Event(at, "storm", number=number % len(STORMS))


def _spread(dice: random.Random, times: int, span_s: float) -> list[float]:
    """Return `count` moments, one in each of as many equal parts of the span."""
    part = (span_s - 3) / max(1, times)
    return [3 + (number + dice.random()) * part for number in range(times)]
