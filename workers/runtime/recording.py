"""Recording: write an outcome on the ledger, under the claim's token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from forebay.routing.bedrock_batches.groups import WaitingGroups
from forebay.routing.bulk.row_rates import RowRates
from forebay.routing.bulk.row_result import counts
from forebay.routing.bulk.shards import Shards
from forebay.routing.errors import Expired, ForebayError, Unavailable
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event, place
from forebay.routing.receipts import JobState, Status
from forebay.routing.store.backoff import patiently
from forebay.workers.runtime.outcomes import (
    Answered,
    Audited,
    Deferred,
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

log = logging.getLogger(__name__)

PATIENCE_S = 600.0  # for Redis to take an outcome; without Redis there is nothing else to do


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
        case Routed() | Escalated() | Deferred():
            _move(ledger, claim, outcome)
            return Recorded(claim.id, outcome, "waiting")
        case Retry(code, note=note, delay_s=delay_s, counted=counted):
            state = ledger.retry(claim, code, note=note, delay_s=delay_s, counted=counted)
            return Recorded(claim.id, outcome, state, _spent(claim, code, note, state))
        case Answered() | Audited() | Failed():
            return _settle(ledger, claim, outcome)
        case ShardAnswered(receipt, results, rising):
            totals = counts(results)
            Shards(ledger).settle(claim, receipt, results, totals, rising)
            _note_rate(ledger, claim, receipt, totals.get("rows_local", 0))
            return Recorded(claim.id, outcome, "done", receipt)
        case Dropped():
            return Recorded(claim.id, outcome, "cancelled" if _cancelled(ledger, claim) else "lost")


def record_together(ledger: Ledger, worked: Sequence[tuple[Claim, Outcome]]) -> dict[str, Recorded]:
    """Record the outcomes of jobs that are routed or end, in a round trip for each of the two.

    Returns:
        How the jobs stand that were recorded, by token. The others are to be recorded one by one:
        what was recorded although Redis did not answer is then lost to its claim.
    """
    done: dict[str, Recorded] = {}
    for together in (_route_all, _settle_all):
        # Besides what Redis raises: one answer that cannot be written as JSON fails with its own.
        with suppress(Exception):
            done |= together(ledger, worked)
    return done


def _route_all(ledger: Ledger, worked: Sequence[tuple[Claim, Outcome]]) -> dict[str, Recorded]:
    routed = [(claim, outcome) for claim, outcome in worked if isinstance(outcome, Routed)]
    refusals = ledger.route_many([one.move(claim) for claim, one in routed]) if routed else []
    return {
        claim.token: Recorded(claim.id, outcome, "waiting")
        for (claim, outcome), refused in zip(routed, refusals, strict=True)
        if refused is None
    }


def _settle_all(ledger: Ledger, worked: Sequence[tuple[Claim, Outcome]]) -> dict[str, Recorded]:
    """End jobs; then do what their answers asked for."""
    ended = [
        (claim, outcome, _receipt(claim, outcome))
        for claim, outcome in worked
        if isinstance(outcome, Answered | Audited | Failed)
    ]
    states = ledger.settle_many([(claim, receipt) for claim, _, receipt in ended]) if ended else []
    return {
        claim.token: _settled(claim, outcome, receipt, state)
        for (claim, outcome, receipt), state in zip(ended, states, strict=True)
        if isinstance(state, str)
    }


def _move(ledger: Ledger, claim: Claim, outcome: Routed | Escalated | Deferred) -> None:
    """Have the job wait elsewhere."""
    match outcome:
        case Routed(queue, egress, reason, verdict):
            ledger.route(claim, queue, egress, reason, verdict)
        case Escalated(reason, draft):
            ledger.escalate(claim, reason, draft)
        case Deferred(group, wait_s):
            WaitingGroups(ledger.redis).defer(claim, group, wait_s)


def _note_rate(ledger: Ledger, claim: Claim, receipt: Receipt, rows: int) -> None:
    """Count the rows of a shard for the forecasts of later bulks."""
    if receipt.model and rows:
        with suppress(ForebayError):  # a forecast is worth no second try
            RowRates(ledger.redis).note(receipt.kind, claim.record.queue, receipt.model, rows)


def _cancelled(ledger: Ledger, claim: Claim) -> bool:
    """Return whether a job was lost because it was cancelled."""
    try:
        return ledger.record(claim.id).state == "cancelled"
    except ForebayError:  # it is forgotten, or Redis is away
        return False


def _settle(ledger: Ledger, claim: Claim, outcome: Answered | Audited | Failed) -> Recorded:
    """End the job; then do what its answer asked for."""
    receipt = _receipt(claim, outcome)
    return _settled(claim, outcome, receipt, ledger.settle(claim, receipt))


def _settled(
    claim: Claim, outcome: Answered | Audited | Failed, receipt: Answer | Receipt, state: JobState
) -> Recorded:
    """Do what the answer of a job that has ended asked for; return how the job stands."""
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
