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
from typing import cast

from forebay.routing.bulk.row_result import counts
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import EgressDenied, Expired, ForebayError, Lost, Unavailable
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.lanes import ROUTE, hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event, place
from forebay.routing.receipts import JobState, Status
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
    Recorded,
    Retry,
    Routed,
    ShardAnswered,
    note_of,
)
from forebay.workers.runtime.retries import outcome_of, outcome_of_defect, outcome_of_denial

log = logging.getLogger(__name__)

MAX_JOBS_PER_DOORBELL = 50
SHARDS_NAMED = 2  # in the result of a doorbell: each still holds the results of its rows
QUICK_S = 0.05  # after working for longer, a worker waits for the next doorbell
PATIENCE_S = 600.0  # for Redis to take an outcome; without Redis there is nothing else to do

Work = Callable[[Claim], Outcome]
Take = Callable[..., Recorded | None]  # `execute` with all but its options


def answer_doorbell(
    ledger: Ledger,
    queue: str,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...] = (),
    *,
    unrung: bool = False,
) -> list[Recorded]:
    """Work the best job that waits, and further ones as long as that takes moments.

    A Celery task costs more than a job that is routed or recalled, so such jobs share a task. A
    job that a model works on has a task to itself. If no job waits, work shards of bulks.

    Returns:
        How each job stands; empty if no job waited.
    """
    take = partial(execute, ledger, queue, work, in_flight, hooks)
    done = _work_jobs(take, in_flight, unrung=unrung)
    return done or _work_shards(take, queue, in_flight, unrung=unrung)


def _work_jobs(take: Take, in_flight: InFlight, *, unrung: bool) -> list[Recorded]:
    """Work jobs as long as that takes moments."""
    done: list[Recorded] = []
    end = time.monotonic() + QUICK_S
    while (recorded := take(unrung=unrung or bool(done))) is not None:
        done.append(recorded)
        if in_flight.closed or len(done) == MAX_JOBS_PER_DOORBELL or time.monotonic() > end:
            break
    return done


def _work_shards(take: Take, queue: str, in_flight: InFlight, *, unrung: bool) -> list[Recorded]:
    """Work shards until none waits, if this process has a thread to spare for them.

    In a local queue only the first shard rings a doorbell, so the thread goes on. In the router's
    queue each shard has its own, and jobs go before shards, so the thread returns soon.
    """
    if not in_flight.shard_places.acquire(blocking=False):
        return []
    done: deque[Recorded] = deque(maxlen=SHARDS_NAMED)
    end = time.monotonic() + QUICK_S
    try:
        while (recorded := take(unrung=unrung or bool(done), shards=True)) is not None:
            done.append(recorded)
            if in_flight.closed or (queue == ROUTE and time.monotonic() > end):
                break
    finally:
        in_flight.shard_places.release()
    return list(done)


def execute(
    ledger: Ledger,
    queue: str,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...] = (),
    *,
    unrung: bool = False,
    shards: bool = False,
) -> Recorded | None:
    """Claim the best job of the queue, work it and record its outcome.

    `unrung` says that no doorbell called for this job, and `shards` claims a shard in place of a
    job; see `Ledger.claim`.

    Returns:
        How the job stands, or `None` if no job waited.
    """
    try:
        bell_less = shards and hop_of(queue) == "local"  # such a shard has no doorbell of its own
        claim = ledger.claim(queue, unrung=unrung and not bell_less, shards=shards)
    except ForebayError as error:  # the sweeper rings again
        log.warning("cannot claim: %s", error, extra=event(Event.CLAIM_FAILED, queue=queue))
        return None
    if claim is None:
        return None
    with in_flight.holding(claim):
        notify_started(hooks, claim)
        recorded = Recorded(claim.id, Dropped(), "lost")
        try:
            recorded = _work(ledger, work, claim)
        finally:
            notify_finished(hooks, claim, recorded)
    return recorded


def _work(ledger: Ledger, work: Work, claim: Claim) -> Recorded:
    """Work a job and record its outcome."""
    outcome = attempt(work, claim)
    try:
        return _record_or_retry(ledger, claim, outcome)
    except Lost:
        return record(ledger, claim, Dropped())


def _record_or_retry(ledger: Ledger, claim: Claim, outcome: Outcome) -> Recorded:
    """Record the outcome, or a retry if this outcome can never be recorded."""
    try:
        return record_patiently(ledger, claim, outcome)
    except EgressDenied as error:
        retry = outcome_of_denial(error, claim)
    except (Lost, ForebayError):
        raise
    except Exception as error:  # noqa: BLE001 - such as an answer that cannot be written as JSON
        retry = outcome_of_defect(error, claim)
    return record_patiently(ledger, claim, retry)


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


def record_patiently(ledger: Ledger, claim: Claim, outcome: Outcome) -> Recorded:
    """Record an outcome, retrying while Redis is down: the work is worth the wait.

    Raises:
        EgressDenied: The job was to go to Bedrock, and its content may not leave.
        Lost: The job is not this claim's any more. Perhaps the outcome was recorded and only the
            reply got lost. Either way there is nothing left to do.
        Unavailable: Redis did not answer for `PATIENCE_S`.
    """

    def warn(error: Unavailable) -> None:
        log.warning(
            "cannot record the outcome of %s yet: %s",
            claim.id,
            error,
            extra=event(Event.JOB_UNRECORDED, job=claim.id),
        )

    return patiently(
        partial(record, ledger, claim, outcome), patience_s=PATIENCE_S, on_failure=warn
    )


def record(ledger: Ledger, claim: Claim, outcome: Outcome) -> Recorded:
    """Write an outcome on the ledger, under the claim's token.

    Raises:
        EgressDenied: The job was to go to Bedrock, and its content may not leave.
        Lost: The job is not this claim's any more; the outcome is dropped.
    """
    match outcome:
        case Routed(queue, egress, reason, verdict):
            ledger.route(claim, queue, egress, reason, verdict)
            return Recorded(claim.id, outcome, "waiting")
        case Escalated(reason, draft):
            ledger.escalate(claim, reason, draft)
            return Recorded(claim.id, outcome, "waiting")
        case Retry(code, note=note, delay_s=delay_s, counted=counted):
            state = ledger.retry(claim, code, note=note, delay_s=delay_s, counted=counted)
            return Recorded(claim.id, outcome, state, _spent(claim, code, note, state))
        case Answered() | Audited() | Failed():
            return _settle(ledger, claim, outcome)
        case ShardAnswered(receipt, results, rising):
            Shards(ledger).settle(claim, receipt, results, counts(results), rising)
            return Recorded(claim.id, outcome, "done", receipt)
        case Dropped():
            return Recorded(claim.id, outcome, "cancelled" if _cancelled(ledger, claim) else "lost")


def _cancelled(ledger: Ledger, claim: Claim) -> bool:
    """Return whether a job was lost because it was cancelled."""
    try:
        return ledger.record(claim.id).state == "cancelled"
    except ForebayError:  # it is forgotten, or Redis is away
        return False


def _settle(ledger: Ledger, claim: Claim, outcome: Answered | Audited | Failed) -> Recorded:
    """End the job; then do what its answer asked for."""
    receipt = _receipt(claim, outcome)
    state = ledger.settle(claim, receipt)
    if isinstance(outcome, Answered) and outcome.then is not None:
        _follow_up(claim, outcome.then)
    return Recorded(claim.id, outcome, state, _without_content(receipt, state))


def _spent(claim: Claim, code: str, note: str, state: JobState) -> Receipt | None:
    """Return the receipt of a job that has no attempts left; `None` if it waits again."""
    if state == "waiting":
        return None
    reasons = (*claim.record.reasons, code)
    heading = claim.record.heading()
    return Receipt(
        **heading,
        status=cast("Status", state),
        reasons=reasons,
        error=code,
        error_note=note or None,
    )


def _without_content(result: Answer | Receipt, state: JobState) -> Receipt:
    receipt = result.receipt if isinstance(result, Answer) else result
    if receipt.status == state:
        return receipt
    return receipt.model_copy(update={"status": state})  # a kept draft replaces a failure


def _follow_up(claim: Claim, then: Callable[[], object]) -> None:
    """Call `then`; log what it raises, since the job has its answer already."""
    try:
        then()
    except Exception as error:  # noqa: BLE001 - see above
        log.error(  # noqa: TRY400 - the message may hold content
            "%s after the end of %s at %s",
            type(error).__name__,
            claim.id,
            place(error),
            extra=event(Event.JOB_BROKE, job=claim.id),
        )


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
        error_note=note_of(error) or None,
    )
