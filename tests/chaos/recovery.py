"""How long jobs in dead hands took until they could be worked again, and until somebody did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diary import Entry
from journal import Change, Journal


@dataclass(frozen=True, slots=True)
class Recovery:
    """A job that a dead worker, or a worker's dead engine, had in hand.

    Attributes:
        seconds: until it waited again, was in other hands, or ended; none if it never was.
        again: until it was in other hands or ended: a free worker of its queue is needed for that.
        paid: money was set aside for it: a call may be running, so it waits for the term.
    """

    job: str
    seconds: float | None
    again: float | None
    paid: bool


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's, or its engine's; `point` names where it died, if it had to die somewhere."""

    at: float
    pid: int
    point: str


def deaths(entries: Sequence[Entry]) -> list[Death]:
    """All deaths by SIGKILL: of workers at named points and from outside, and of engines."""
    points = {"killed": "", "engine": "engine"}
    return [
        Death(entry.at, entry.pid, points.get(entry.what, entry.about))
        for entry in entries
        if entry.what in {"died", *points}
    ]


def recoveries(entries: Sequence[Entry], journal: Journal) -> Iterator[Recovery]:
    """One for each job in hand at each death."""
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
    """The value that this share of all is not above; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
