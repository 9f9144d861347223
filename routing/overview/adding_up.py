"""Adds up what is known of several fleets, so that they are shown as one."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from forebay.routing.errors import Unavailable
from forebay.routing.lanes import SWEEP
from forebay.routing.ledger.record import Record
from forebay.routing.limits.allowances import FLEET
from forebay.routing.overview.all_jobs import Found, ended_or_created
from forebay.routing.overview.snapshot import FAILURES, QueueLine, Snapshot
from forebay.routing.overview.waiting import CLASSES
from forebay.routing.overview.workers import SeenWorker

T = TypeVar("T")


def added_snapshots(fleets: Mapping[str, Snapshot]) -> Snapshot:
    """Return several fleets as one; names of workers and pauses say of which fleet they are."""
    if len(fleets) == 1:
        return next(iter(fleets.values()))
    each = list(fleets.values())
    return Snapshot(
        at_ms=max(now.at_ms for now in each), queues=_queues(fleets),
        delayed=sum(now.delayed for now in each), recovered=sum(now.recovered for now in each),
        memory=max((now.memory for now in each if now.memory is not None), default=None),
        spent=added_sums(now.spent for now in each), budgets=_budgets(each),
        shut=", ".join(f"{name}: {now.shut}" for name, now in fleets.items() if now.shut),
        paused=tuple(f"{scope} in {name}" for name, now in fleets.items() for scope in now.paused),
        dead=sum((now.dead for now in each), Counter[tuple[str, str, str]]()),
        failures=tuple(_newest(FAILURES, (now.failures for now in each))),
        workers=tuple(named(name, one) for name, now in fleets.items() for one in now.workers),
        mocked=all(now.mocked for now in each),
        unswept=tuple(name for name, now in fleets.items() if not _swept(now)),
    )  # fmt: skip


def of_each(asks: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], tuple[str, ...]]:
    """Ask each fleet; return the replies, and the names of the fleets that cannot be reached.

    Raises:
        Unavailable: None of them can be reached.
    """
    replies: dict[str, T] = {}
    failure: Unavailable | None = None
    for name, ask in asks.items():
        try:
            replies[name] = ask()
        except Unavailable as error:
            failure = error
    if failure is not None and not replies:
        raise failure
    return replies, tuple(name for name in asks if name not in replies)


def added_found(searches: Iterable[Found], limit: int) -> Found:
    """Return the newest jobs of several searches, and their counts together."""
    each = list(searches)
    records = _newest(limit, (found.records for found in each))
    counts = sum((found.counts for found in each), Counter[tuple[str, str, str]]())
    looked_at = sum(found.looked_at for found in each)
    return Found(records, counts, looked_at, all(found.complete for found in each))


def _newest(limit: int, records: Iterable[Sequence[Record]]) -> list[Record]:
    return heapq.nlargest(limit, chain.from_iterable(records), key=ended_or_created)


def added_sums(fleets: Iterable[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """Return what was spent and what is reserved in several fleets together, by owner."""
    found: dict[str, tuple[int, int]] = {}
    for sums in fleets:
        for name, (settled, reserved) in sums.items():
            known = found.get(name, (0, 0))
            found[name] = known[0] + settled, known[1] + reserved
    return found


def named(fleet: str, worker: SeenWorker) -> SeenWorker:
    """Return a worker whose name says of which fleet it is."""
    status = worker.status.model_copy(update={"name": f"{fleet}/{worker.status.name}"})
    return replace(worker, status=status)


def _swept(now: Snapshot) -> bool:
    return any(line.queue == SWEEP and line.workers for line in now.queues)


def _budgets(fleets: Iterable[Snapshot]) -> dict[str, int] | None:
    """Return the budgets of the tenants, and the sum of the fleets' if each has one."""
    each = [now.budgets for now in fleets if now.budgets is not None]
    if not each:
        return None
    found = {name: limit for budgets in each for name, limit in budgets.items()}
    found.pop(FLEET, None)
    whole = [budgets[FLEET] for budgets in each if FLEET in budgets]
    return found | ({FLEET: sum(whole)} if len(whole) == len(each) else {})


def _queues(fleets: Mapping[str, Snapshot]) -> tuple[QueueLine, ...]:
    lines: dict[str, QueueLine] = {}
    for fleet, now in fleets.items():
        for line in now.queues:
            known = lines.get(line.queue, QueueLine(line.queue, {}, 0.0, 0, ()))
            lines[line.queue] = QueueLine(
                line.queue,
                {one: known.waiting.get(one, 0) + line.waiting.get(one, 0) for one in CLASSES},
                max(known.oldest_s, line.oldest_s),
                known.running + line.running,
                (*known.workers, *(f"{fleet}/{name}" for name in line.workers)),
            )
    return tuple(lines[name] for name in sorted(lines))
