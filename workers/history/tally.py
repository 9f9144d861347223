"""Counts how jobs end and why they go up, for the history of the last day."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator

from celery.signals import worker_ready, worker_shutdown

from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Receipt
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event, event
from forebay.routing.overview.history import History
from forebay.routing.reasons import Reason, meaning
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.workers.runtime.actor import settings_of
from forebay.workers.runtime.outcomes import Escalated, Recorded, Routed, ShardAnswered

log = logging.getLogger(__name__)

FLUSH_S = 5.0
CLOSE_S = 2.0
_OTHER = "other"


class Tally:
    """Adds up what this process does, and writes the sums to Redis every few seconds.

    What Redis does not take is kept and written later; there are few different counts.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._silent = False
        self._history = History(connect(settings_of(Settings), brisk=True))
        self._thread = threading.Thread(target=self._run, daemon=True, name="history")
        worker_ready.connect(self._start, weak=False)
        worker_shutdown.connect(self._stop, weak=False)

    def started(self, _claim: Claim, /) -> None:
        """Count nothing: the outcome follows."""

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Count what became of a job, or of the rows of a shard."""
        self._add(_counted(claim.record, recorded))

    def swept(self, record: Record, /) -> None:
        """Count a job that a sweep ended."""
        if record.state != "waiting":
            self._add(_ended(record.to_receipt()))

    def _add(self, names: Iterator[str]) -> None:
        with self._lock:
            self._counts.update(names)

    def _start(self, **_: object) -> None:
        self._thread.start()

    def _stop(self, **_: object) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        while not self._closed.wait(FLUSH_S):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._history.add(counts)
            self._silent = False
        except ForebayError as error:
            with self._lock:
                self._counts.update(counts)
            if not self._silent:  # once for each time that Redis is away
                log.warning("cannot write: %s", error, extra=event(Event.HISTORY_AWAY))
            self._silent = True


def _counted(record: Record, recorded: Recorded) -> Iterator[str]:
    """Yield a name for each thing to count; see `Minute.counts`."""
    match recorded.outcome:
        case ShardAnswered(results=results, rising=rising):
            for row in results:
                if row.status == "done":
                    yield from _answered("local", degraded=row.degraded, cached=False)
                elif row.status != "up":
                    yield row.status
            for up in rising:
                yield _up(up.reasons[len(record.reasons) :][:1])
        case Escalated(reason) if recorded.state == "waiting":
            yield _up(reason.split(",")[:1])
        case Routed(queue, reason=reason) if recorded.state == "waiting" and queue == BEDROCK:
            yield _up(reason.split(",")[:1])
        case _ if recorded.receipt is not None:
            yield from _ended(recorded.receipt)
        case _ if recorded.state == "cancelled" and not record.rows:
            yield "cancelled"


def _ended(receipt: Receipt) -> Iterator[str]:
    """Yield how a job ended; nothing for an audit, which nobody asked for."""
    if Reason.AUDIT in receipt.reasons:
        return
    if receipt.status == "done":
        yield from _answered(
            receipt.lane or "local", degraded=receipt.degraded, cached=receipt.cached
        )
    else:
        yield receipt.status


def _answered(lane: str, *, degraded: bool, cached: bool) -> Iterator[str]:
    yield lane
    if degraded:
        yield "degraded"
    if cached:
        yield "cached"


def _up(codes: list[str] | tuple[str, ...]) -> str:
    """Return the count of jobs that went up for a reason; codes that are not known are one."""
    code = codes[0].partition(":")[0] if codes else ""
    return f"up:{code if meaning(code) else _OTHER}"
