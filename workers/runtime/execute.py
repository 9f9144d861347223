"""One job's path through a worker: claim the job, work it, record its outcome.

Whatever happens while a job is worked becomes one outcome value (`outcomes`); the ledger is told
once, at the end. Nothing that is logged or returned here holds content.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from forebay.routing.bulk.row_result import counts
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import EgressDenied, Expired, ForebayError, Lost, Unavailable
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.lanes import ROUTE, hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import place
from forebay.routing.store.backoff import patiently
from forebay.workers.runtime.hooks import JobHook, notify_finished, notify_started
from forebay.workers.runtime.in_flight import InFlight
from forebay.workers.runtime.outcomes import (
    Answered,
    Audited,
    Dropped,
    Escalated,
    Failed,
    Outcome,
    Retry,
    Routed,
    ShardAnswered,
)
from forebay.workers.runtime.retries import outcome_of, outcome_of_defect, outcome_of_denial

log = logging.getLogger(__name__)

MAX_JOBS_PER_DOORBELL = 50
MAX_NOTE_CHARS = 400  # of an error's message in a receipt
QUICK_S = 0.05  # after working for longer, a worker waits for the next doorbell
PATIENCE_S = 600.0  # for Redis to take an outcome; without Redis there is nothing else to do

TaskResult = dict[str, Any]  # what Celery and Flower see of a job
Work = Callable[[Claim], Outcome]
Take = Callable[..., TaskResult | None]  # `execute` with all but its options


def answer_doorbell(
    ledger: Ledger,
    queue: str,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...] = (),
    *,
    unrung: bool = False,
) -> TaskResult | list[TaskResult] | None:
    """Work the best job that waits, and further ones as long as that takes moments.

    A Celery task costs more than a job that is routed or recalled, so such jobs share a task. A
    job that a model works on has a task to itself. If no job waits, work shards of bulks.

    Returns:
        The result of the job, a list if there were several, or `None` if no job waited.
    """
    take = partial(execute, ledger, queue, work, in_flight, hooks)
    results = _work_jobs(take, in_flight, unrung=unrung)
    if not results:
        results = _work_shards(take, queue, in_flight, unrung=unrung)
    return results if len(results) > 1 else next(iter(results), None)


def _work_jobs(take: Take, in_flight: InFlight, *, unrung: bool) -> list[TaskResult]:
    """Work jobs as long as that takes moments."""
    results: list[TaskResult] = []
    end = time.monotonic() + QUICK_S
    while (result := take(unrung=unrung or bool(results))) is not None:
        results.append(result)
        if in_flight.closed or len(results) == MAX_JOBS_PER_DOORBELL or time.monotonic() > end:
            break
    return results


def _work_shards(take: Take, queue: str, in_flight: InFlight, *, unrung: bool) -> list[TaskResult]:
    """Work shards until none waits, if this process has a thread to spare for them.

    In a local queue only the first shard rings a doorbell, so the thread goes on. In the router's
    queue each shard has its own, and jobs go before shards, so the thread returns soon.
    """
    if not in_flight.shard_places.acquire(blocking=False):
        return []
    results: deque[TaskResult] = deque(maxlen=MAX_JOBS_PER_DOORBELL)
    end = time.monotonic() + QUICK_S
    try:
        while (result := take(unrung=unrung or bool(results), shards=True)) is not None:
            results.append(result)
            if in_flight.closed or (queue == ROUTE and time.monotonic() > end):
                break
    finally:
        in_flight.shard_places.release()
    return list(results)


def execute(
    ledger: Ledger,
    queue: str,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...] = (),
    *,
    unrung: bool = False,
    shards: bool = False,
) -> TaskResult | None:
    """Claim the best job of the queue, work it and record its outcome.

    `unrung` says that no doorbell called for this job, and `shards` claims a shard in place of a
    job; see `Ledger.claim`.

    Returns:
        The result of the job, or `None` if no job waited.
    """
    try:
        bell_less = shards and hop_of(queue) == "local"  # such a shard has no doorbell of its own
        claim = ledger.claim(queue, unrung=unrung and not bell_less, shards=shards)
    except ForebayError as error:  # the sweeper rings again
        log.warning("cannot claim: %s", error)
        return None
    if claim is None:
        return None
    with in_flight.holding(claim):
        notify_started(hooks, claim)
        outcome: Outcome = Dropped()
        try:
            outcome, result = _work(ledger, work, claim)
        finally:
            notify_finished(hooks, claim, outcome)
    return result


def _work(ledger: Ledger, work: Work, claim: Claim) -> tuple[Outcome, TaskResult]:
    """Work a job and record its outcome; return what was recorded."""
    outcome = attempt(work, claim)
    try:
        return _record_or_retry(ledger, claim, outcome)
    except Lost:
        return Dropped(), record(ledger, claim, Dropped())


def _record_or_retry(ledger: Ledger, claim: Claim, outcome: Outcome) -> tuple[Outcome, TaskResult]:
    """Record the outcome, or a retry if this outcome can never be recorded."""
    try:
        return outcome, record_patiently(ledger, claim, outcome)
    except EgressDenied as error:
        retry = outcome_of_denial(error, claim)
    except (Lost, ForebayError):
        raise
    except Exception as error:  # noqa: BLE001 - such as an answer that cannot be written as JSON
        retry = outcome_of_defect(error, claim)
    return retry, record_patiently(ledger, claim, retry)


def attempt(work: Work, claim: Claim) -> Outcome:
    """Work the job; turn whatever it raises into the outcome that it means."""
    try:
        return work(claim)
    except Lost:
        return Dropped()
    except ForebayError as error:
        return outcome_of(error, claim)
    except Exception as error:  # noqa: BLE001 - the worker outlives any job
        return outcome_of_defect(error, claim)


def record_patiently(ledger: Ledger, claim: Claim, outcome: Outcome) -> TaskResult:
    """Record an outcome, retrying while Redis is down: the work is worth the wait.

    Raises:
        EgressDenied: The job was to go to Bedrock, and its content may not leave.
        Lost: The job is not this claim's any more. Perhaps the outcome was recorded and only the
            reply got lost. Either way there is nothing left to do.
        Unavailable: Redis did not answer for `PATIENCE_S`.
    """

    def warn(error: Unavailable) -> None:
        log.warning("cannot record the outcome of %s yet: %s", claim.id, error)

    return patiently(
        partial(record, ledger, claim, outcome), patience_s=PATIENCE_S, on_failure=warn
    )


def record(ledger: Ledger, claim: Claim, outcome: Outcome) -> TaskResult:
    """Write an outcome on the ledger, under the claim's token.

    Raises:
        EgressDenied: The job was to go to Bedrock, and its content may not leave.
        Lost: The job is not this claim's any more; the outcome is dropped.
    """
    match outcome:
        case Routed(queue, egress, reason, verdict):
            ledger.route(claim, queue, egress, reason, verdict)
            return {"id": claim.id, "to": queue, "reason": reason}
        case Escalated(reason, draft):
            ledger.escalate(claim, reason, draft)
            return {"id": claim.id, "to": "bedrock", "reason": reason}
        case Retry(code, delay_s, counted):
            waits = ledger.retry(claim, code, delay_s=delay_s, counted=counted)
            return {"id": claim.id, "error": code, "again": waits}
        case Answered() | Audited() | Failed():
            return _settle(ledger, claim, outcome)
        case ShardAnswered(receipt, results, rising):
            Shards(ledger).settle(claim, receipt, results, counts(results), rising)
            return task_result(receipt) | {"rows": len(results), "up": len(rising)}
        case Dropped():
            return {"id": claim.id, "lost": True}


def _settle(ledger: Ledger, claim: Claim, outcome: Answered | Audited | Failed) -> TaskResult:
    """End the job; then do what its answer asked for."""
    if isinstance(outcome, Failed):
        log.warning("%s failed: %s: %s", claim.id, outcome.error.code, outcome.error)
    receipt = _receipt(claim, outcome)
    ledger.settle(claim, receipt)
    if isinstance(outcome, Answered) and outcome.then is not None:
        _follow_up(claim, outcome.then)
    return task_result(receipt)


def _follow_up(claim: Claim, then: Callable[[], object]) -> None:
    """Call `then`; log what it raises, since the job has its answer already."""
    try:
        then()
    except Exception as error:  # noqa: BLE001 - see above
        name = type(error).__name__
        log.error("%s after the end of %s at %s", name, claim.id, place(error))  # noqa: TRY400 - the message may hold content


def _receipt(claim: Claim, outcome: Answered | Audited | Failed) -> Answer | Receipt:
    match outcome:
        case Answered(answer):
            return answer
        case Audited(receipt):
            return receipt
        case Failed(error, reasons):
            return failure_receipt(claim, error, reasons)


def failure_receipt(claim: Claim, error: ForebayError, reasons: tuple[str, ...]) -> Receipt:
    """Return the receipt of a job that failed, or whose deadline passed while it was worked."""
    return Receipt(
        **claim.record.heading(),
        status="expired" if isinstance(error, Expired) else "failed",
        reasons=(*claim.record.reasons, *reasons, error.code),
        error=error.code,
        error_field=error.field,
        error_note=error.message[:MAX_NOTE_CHARS] or None,
    )


def task_result(receipt: Receipt) -> TaskResult:
    """Return the few fields of a receipt that Celery and Flower have room for."""
    fields = receipt.model_dump(
        include={"id", "kind", "lane", "status", "model", "tokens_in", "tokens_out", "cost_usd"}
    )
    return {**fields, "reason": receipt.reason}
