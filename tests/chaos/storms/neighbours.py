"""The jobs of others during a storm, and how long each took, in a file that survives."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from books.content import DENY, OPEN
from forebay.routing.jobs import Classify, Extract, Generate, Label, Message, Request, Summarize
from ordeal.workload import NUMBER

TENANTS = ("alpha", "beta")
WORDS = "one two three four five six seven eight nine ten"
DELAY_S = 0.05  # of a word: an answer takes half a second, as a short one of a small model does
BEDROCK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class NeighbourJob:
    """A job to submit `at` seconds from the start; `lane` is where it has to be answered.

    `fails` and `cancel_s` are as in `ordeal.workload.Order`: nothing of its own ends it.
    """

    number: str
    at: float
    tenant: str
    lane: str
    request: Request = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    fails: frozenset[str] = frozenset()
    cancel_s: float | None = None


class Timing(NamedTuple):
    """How long a job took: Unix time when it was due, lane, status, and seconds to its answer."""

    due: float
    lane: str
    status: str
    seconds: float


def neighbour_jobs(seed: int, rate: float, span_s: float) -> Iterator[NeighbourJob]:
    """Return the jobs of others, evenly spread."""
    dice = random.Random(f"neighbours {seed}")
    for number in range(int(rate * span_s)):
        lane = "bedrock" if dice.random() < BEDROCK_SHARE else "local"
        mark = f"{OPEN if lane == 'bedrock' else DENY}{dice.randbytes(6).hex()}"
        options = {"lane": "bedrock", "egress": "allow"} if lane == "bedrock" else {}
        request = dice.choice(_MAKERS)(mark)
        yield NeighbourJob(
            f"neighbour{number}", number / rate, dice.choice(TENANTS), lane, request, options
        )


def timings(path: Path) -> list[Timing]:
    """Read the file of the timings."""
    return [Timing(*json.loads(line)) for line in path.read_text().splitlines()]


def _generate(mark: str) -> Request:
    text = f"[[echo: delay={DELAY_S}]] {mark} {WORDS}"
    return Generate(messages=[Message(role="user", content=text)])


def _summarize(mark: str) -> Request:
    return Summarize(text=f"[[echo: delay={DELAY_S}]] {WORDS}. {mark}", max_words=20)


def _extract(mark: str) -> Request:
    text = f"[[echo: delay={DELAY_S * 5}]] My customer number is C-20417. {mark}"
    return Extract(text=text, schema=NUMBER)


def _classify(mark: str) -> Request:
    labels = [Label(name="billing", description=f"Of money {mark}"), Label(name="access")]
    return Classify(text=f"My card was charged twice: billing {mark}", labels=labels)


_MAKERS = (_generate, _generate, _summarize, _summarize, _extract, _classify)


@dataclass(frozen=True, slots=True)
class Attacker:
    """A job of the attacker, as the books of causes see it: its own faults may end it."""

    fails: frozenset[str] = frozenset({"bad_answer", "invalid_job", "too_long"})
    cancel_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
