"""Counts the jobs of this worker, in a book that outlives their records.

`forebay report` reads the book's hours, and the status page its minutes.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import (
    JobGroup,
    audit_count,
    check_count,
    job_counts,
    up_count,
    worked_count,
)
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.lanes import BEDROCK
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import Record
from forebay.routing.logs import Event, event
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.workers.runtime.outcomes import (
    Answered,
    Audited,
    Escalated,
    Failed,
    Outcome,
    Recorded,
    Routed,
    ShardAnswered,
)

log = logging.getLogger(__name__)

#: How often counts are written. A worker that is killed loses those of this time.
FLUSH_S = 2.0
#: Counts that wait while Redis is away; past it, new ones are dropped.
MAX_WAITING = 50_000


class JobTally:
    """Adds up counts, and writes them from a thread of its own.

    Args:
        open_book: opens the book that the counts are written into, on the thread.
    """

    def __init__(self, open_book: Callable[[], JobBook] | None = None) -> None:
        self._open_book = open_book or _open_book
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._book: JobBook | None = None
        self._failing = False

    def started(self, _claim: Claim, /) -> None:
        """Count nothing yet."""

    def finished(self, claim: Claim, recorded: Recorded, /) -> None:
        """Count what became of a job; whoever holds it counts a job that was lost."""
        if recorded.state == "lost":
            return
        record, outcome = claim.record, recorded.outcome
        counts = list(_of_way(record, outcome))
        if isinstance(outcome, ShardAnswered):
            counts += _of_rows(record, outcome.results).items()
        elif recorded.receipt is not None:
            audited = isinstance(outcome, Audited)
            counts += _of_end(record, recorded.receipt, audited=audited).items()
        elif recorded.state == "cancelled":
            counts += job_counts(_group(record, "cancelled"), jobs=record.rows or 1).items()
        self._add(counts)

    def swept(self, record: Record, /) -> None:
        """Count a job that a sweep ended."""
        if record.state != "waiting" and not record.audit_of:
            self._add(job_counts(_group(record, record.state), jobs=record.rows or 1).items())

    def flush(self) -> None:
        """Write what was counted; what Redis does not take is kept for the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._book = self._book or self._open_book()
            self._book.add(counts)
            self._failing = False
        except ForebayError as error:
            if not self._failing:
                text = "the counts of jobs cannot be written: %s"
                log.warning(text, error, extra=event(Event.HISTORY_AWAY))
            self._failing = True
            with self._lock:
                self._counts.update(counts)

    def _add(self, counts: Iterable[tuple[str, int]]) -> None:
        """Add numbers to the counts of these names."""
        if not counts:
            return
        with self._lock:
            if len(self._counts) < MAX_WAITING:
                for name, number in counts:
                    self._counts[name] += number
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="job tally")
                self._thread.start()
                atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            self.flush()


def _open_book() -> JobBook:
    settings = read_settings()
    return JobBook(connect(settings), settings.books_days)


def _group(record: Record, state: str) -> JobGroup:
    return JobGroup(record.tenant, record.kind, record.egress, state)


def _of_way(record: Record, outcome: Outcome) -> Iterator[tuple[str, int]]:
    """Yield the counts of where a job goes, and of what was found of its answer."""
    tenant, kind = record.tenant, record.kind
    worked, checked = False, None
    match outcome:
        case Routed(queue, reason=reason):
            if queue == BEDROCK:
                yield up_count(tenant, kind, _deciding(reason)), 1
        case Answered(answer):
            worked, checked = not answer.cached, answer  # a cached answer is no work
        case Escalated(reason, draft):
            worked, checked = True, draft
            yield up_count(tenant, kind, _deciding(reason)), 1
        case Failed():
            worked = True
    if worked and record.hop == "local":
        yield worked_count(tenant, kind, record.queue), 1
    for name in _failed_checks(tenant, kind, checked):
        yield name, 1


def _of_end(record: Record, receipt: Receipt, *, audited: bool) -> dict[str, int]:
    """Return the counts of a job that ended; of an audit, its result."""
    tenant = record.tenant
    if audited:
        agreed = all(check.passed for check in receipt.checks)
        name = audit_count(tenant, record.kind, agreed=agreed, stand_in=receipt.stand_in)
        return {name: 1}
    if record.audit_of:
        return {}
    group = JobGroup(
        tenant, record.kind, record.egress, receipt.status,
        receipt.lane or "", receipt.model or "", receipt.stand_in,
    )  # fmt: skip
    return job_counts(
        group, jobs=1, tokens_in=receipt.tokens_in, tokens_out=receipt.tokens_out,
        nusd=receipt.cost_nusd, degraded=receipt.degraded, cached=receipt.cached,
    )  # fmt: skip


def _of_rows(record: Record, results: Iterable[RowResult]) -> Counter[str]:
    """Return the counts of a shard's rows; a row that goes up is counted as its own job."""
    tenant, kind = record.tenant, record.kind
    counts: Counter[str] = Counter()
    alike: defaultdict[tuple[str, str], list[RowResult]] = defaultdict(list)
    for result in results:
        if result.status == "up":
            counts[up_count(tenant, kind, _deciding(",".join(result.reasons[-1:])))] += 1
            continue
        alike[result.status, result.model].append(result)
        for name in {check for check, _ in result.failed}:
            counts[check_count(tenant, kind, name)] += 1
    for (status, model), rows in alike.items():
        lane = "local" if status == "done" else ""
        counts.update(_of_group(JobGroup(tenant, kind, record.egress, status, lane, model), rows))
    return counts


def _of_group(group: JobGroup, rows: Sequence[RowResult]) -> dict[str, int]:
    return job_counts(
        group, jobs=len(rows), rows=len(rows),
        tokens_in=sum([row.tokens_in for row in rows]),
        tokens_out=sum([row.tokens_out for row in rows]),
        degraded=sum([row.degraded for row in rows]),
    )  # fmt: skip


def _failed_checks(tenant: str, kind: str, answer: Answer | None) -> Iterator[str]:
    for check in answer.checks if answer is not None else ():
        if not check.passed:
            yield check_count(tenant, kind, check.name)


def _deciding(reasons: str) -> str:
    """Return the last of several reason codes: the one that decided."""
    return reasons.rpartition(",")[2] or "unknown"
