"""Reads the results of a batch: books what each record cost, keeps its answer, lets its job go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from forebay.routing.bedrock_batches.batch_record import ANSWERED, BatchRecord
from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Answer
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.logs import Event, event
from forebay.routing.store.backoff import patiently
from forebay.workers.frontier.batch.batched_jobs import call_id, waiting_jobs
from forebay.workers.frontier.batch.departure import Departure
from forebay.workers.frontier.batch.held_lease import HeldLease
from forebay.workers.frontier.batch.record_reply import PricedReply, answer_of, priced
from forebay.workers.frontier.batch.record_result import RecordResult, read_result
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.batch_service import FAILED, Progress
from forebay.workers.frontier.calling.payments import MAX_BOOKING_S
from forebay.workers.runtime.attempt import Attempt

log = logging.getLogger(__name__)

LINES_PER_READ, BYTES_PER_READ = 100, 32_000_000  # that are in memory at once
#: How long results that the service counts, and that are not in the bucket, are waited for.
LATE_RESULTS_S = 600.0

Share = Callable[[Attempt, Answer], object]


class Collection:
    """Collects the results of batches that Bedrock is done with.

    1. Reads each result, books its cost under the record's own call, and keeps the answer with the
       job in the same step, as a worker does that may die before it settles the job.
    2. Lets each job go back to its queue, where a worker settles it with that answer.
    3. Releases the money of records that have no result and were not billed. If the service counts
       more results than there are, that is unknown, and the money stays reserved.

    Every step can be done again: a cost is booked once, and a job leaves once.
    """

    def __init__(
        self,
        ledger: Ledger,
        batches: BedrockBatches,
        bucket: BatchBucket,
        budget: Budget,
        departure: Departure,
        share: Share,
    ) -> None:
        """`share` is called with each answer that passes its checks, once it is kept."""
        self._ledger, self._batches, self._bucket = ledger, batches, bucket
        self._budget, self._departure, self._share = budget, departure, share

    def collect(self, batch: BatchRecord, progress: Progress, lease: HeldLease) -> None:
        """Read all results and end the batch; leave it as it is while results are still missing.

        Raises:
            Lost: Another process does this work by now.
        """
        jobs, answered = self._batches.jobs(batch.id), set[str]()
        for lines in _portions(self._bucket.results(batch)):
            lease.check()
            results = [result for line in lines if (result := read_result(line))]
            known = {result.record_id: result for result in results if result.record_id in jobs}
            self._take(batch, progress, jobs, known)
            answered |= {name for name, result in known.items() if result.body is not None}
        self._close(batch, progress, jobs, answered)

    def _take(
        self,
        batch: BatchRecord,
        progress: Progress,
        jobs: dict[str, str],
        results: dict[str, RecordResult],
    ) -> None:
        """Book some results, and let their jobs go."""
        calls = {name: call_id(batch.id, name) for name in results}
        reserved = self._budget.find_all(list(calls.values()))
        claims = waiting_jobs(self._ledger, batch.id, [jobs[name] for name in results])
        for name, result in results.items():
            call, reservation = calls[name], reserved.get(calls[name])
            if reservation is not None and reservation.state == "settled":
                continue
            if result.failed:
                self._budget.release(call)
            elif result.body is not None:
                worst = reservation.reserved_nusd if reservation else 0
                reply = priced(batch, call, worst, result.body, stand_in=progress.stand_in)
                self._book(call, reply, claims.get(jobs[name]))
        gone = [jobs[name] for name, result in results.items() if result.failed or result.body]
        self._batches.leave(gone, self._ledger.bell, batch=batch.id)

    def _book(self, call: str, reply: PricedReply, claim: Claim | None) -> None:
        """Book a result together with its answer, if its job still waits and the answer will do."""
        attempt, draft = _opened(claim), b""
        answer = answer_of(attempt, reply) if attempt else None
        if answer is not None:
            draft = self._ledger.seal.close(answer.model_dump_json().encode())
        settle = partial(
            self._budget.settle, call, reply.cost.nusd, draft=draft, bill=reply.cost.bill()
        )
        patiently(settle, patience_s=MAX_BOOKING_S)
        if attempt is not None and answer is not None:
            self._share(attempt, answer)

    def _close(
        self, batch: BatchRecord, progress: Progress, jobs: dict[str, str], answered: set[str]
    ) -> None:
        """Settle what has no result, and end the batch; wait if results may still come."""
        calls = {call_id(batch.id, name) for name in jobs}
        open_calls = [
            call for call, found in self._budget.find_all(list(calls)).items()
            if found.state == "open"
        ]  # fmt: skip
        unbilled = len(answered) >= self._succeeded(progress, answered)
        late_s = (self._batches.now_ms() - batch.complete_at) / 1_000
        if open_calls and not unbilled and late_s < LATE_RESULTS_S:
            return
        if progress.status == FAILED and unbilled and not answered:
            self._departure.failed(batch, progress.why)
            return
        for call in open_calls if unbilled else ():
            self._budget.release(call)
        self._batches.leave(list(jobs.values()), self._ledger.bell, batch=batch.id)
        unknown = 0 if unbilled else len(open_calls)
        _tell(batch, progress, len(answered), unknown)
        leaving = self._batches.advance(
            batch, "leaving", outcome=ANSWERED, status=progress.status,
            answered=len(answered), failed=max(0, batch.records - len(answered) - unknown),
            unknown=unknown,
        )  # fmt: skip
        if leaving is not None:
            self._departure.finish(leaving)

    def _succeeded(self, progress: Progress, answered: set[str]) -> float:
        """Return how many records Bedrock has billed, as far as it says."""
        if progress.succeeded is not None:
            return progress.succeeded
        return 0 if progress.status == FAILED and not answered else float("inf")


def _portions(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lists of lines that are not too many, nor too long together."""
    portion: list[bytes] = []
    size = 0
    for line in lines:
        portion.append(line)
        size += len(line)
        if len(portion) >= LINES_PER_READ or size >= BYTES_PER_READ:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _opened(claim: Claim | None) -> Attempt | None:
    """Return the attempt at a job; `None` if it has ended, or its content is damaged.

    The cost of its record is booked all the same, and the other records are not kept waiting.
    """
    try:
        return Attempt.of(claim) if claim else None
    except InvalidJob:
        return None


def _tell(batch: BatchRecord, progress: Progress, answered: int, unknown: int) -> None:
    about = {"batch": batch.id, "model": batch.model}
    log.info(
        "batch %s: %s, %d of %d jobs answered", batch.id, progress.status, answered, batch.records,
        extra=event(Event.BEDROCK_BATCH_ENDED, **about, answered=answered, jobs=batch.records),
    )  # fmt: skip
    if unknown:
        log.error(
            "batch %s: %d records have no result and may be billed", batch.id, unknown,
            extra=event(Event.BEDROCK_BATCH_UNKNOWN, **about, unknown=unknown),
        )  # fmt: skip
