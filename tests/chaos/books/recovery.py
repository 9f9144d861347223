"""Measure how long jobs of dead workers took to be given back, and to be claimed again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from books.diary import Entry
from books.journal import Change, Journal


@dataclass(frozen=True, slots=True)
class Recovery:
    """A job that was in flight when its worker, or the worker's engine, died.

    Attributes:
        seconds: until the job waited again, was claimed again, or ended; None if it never did.
        again: until the job was claimed again or ended, which needs a free worker of its queue.
        paid: money was reserved: a call may be running, so the job waits for the term.
    """

    job: str
    seconds: float | None
    again: float | None
    paid: bool


@dataclass(frozen=True, slots=True)
class Death:
    """The death of a worker or its engine, and the named `point` where it died, if any."""

    at: float
    pid: int
    point: str


def deaths(entries: Sequence[Entry]) -> list[Death]:
    """Return all deaths by SIGKILL: of workers, at named points or from outside, and of engines."""
    points = {"killed": "", "engine": "engine"}
    return [
        Death(entry.at, entry.pid, points.get(entry.what, entry.about))
        for entry in entries
        if entry.what in {"died", *points}
    ]


def recoveries(entries: Sequence[Entry], journal: Journal) -> Iterator[Recovery]:
    """Yield one recovery for each job in flight at each death."""
    by_pid: dict[int, list[Entry]] = {}
    for entry in entries:
        by_pid.setdefault(entry.pid, []).append(entry)
    for death in deaths(entries):
        before = [entry for entry in by_pid[death.pid] if entry.at <= death.at]
        let = {entry.more for entry in before if entry.what in {"moved", "settle"}}
        paid = {entry.about for entry in before if entry.what == "reserve"}
        for entry in before:
            if entry.what == "claim" and entry.more not in let:
                life = journal.lives.get(entry.about, [])
                if _held(life, entry.more, death.at):
                    after = [change for change in life if change.at > death.at]
                    yield Recovery(
                        entry.about,
                        seconds=_first(after, death.at),
                        again=_first([one for one in after if one.state != "waiting"], death.at),
                        paid=entry.about in paid,
                    )


def _held(life: Sequence[Change], token: str, at: float) -> bool:
    past = [change for change in life if change.at <= at]
    return bool(past) and past[-1].state == "running" and past[-1].token == token


def _first(changes: Sequence[Change], at: float) -> float | None:
    return min((change.at - at for change in changes), default=None)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
