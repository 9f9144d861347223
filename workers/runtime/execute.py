"""One job's path through a worker: claim it, work it, write down what came of it.

Whatever happens in between becomes one outcome value; the ledger is told once, at the end. Nothing
that is logged or returned here holds content: exceptions of others are named by type and place.
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from forebay.routing.errors import (
    EngineBusy,
    EngineDied,
    ForebayError,
    Lost,
    PassingError,
    Unavailable,
)
from forebay.routing.jobs import Answer, Receipt, Verdict
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.reasons import Reason
from forebay.workers.runtime.in_flight import InFlight

log = logging.getLogger(__name__)

MAX_RETRY_DELAY_S = 60.0
MAX_JOBS_PER_DOORBELL = 50  # jobs to one doorbell
QUICK_S = 0.05  # a worker that has not worked for longer goes on without another doorbell
PATIENCE_S = 600.0  # without Redis there is nothing else to do anyway


@dataclass(frozen=True, slots=True)
class Routed:
    """The job goes to a lane."""

    queue: str
    egress: str
    reason: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """There is an answer, good or degraded; `then` is done once the ledger has it."""

    answer: Answer
    then: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Escalated:
    """The local answer would not do, and the job may leave."""

    reason: str
    draft: Answer | None


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no answer; `reasons` are added to those the job has."""

    error: ForebayError
    reasons: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now. A try that never began is not counted against the job's attempts."""

    code: str
    delay_s: float = 0.0
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Audited:
    """The job was an audit; what it showed is written down, and this is what it cost."""

    receipt: Receipt


TaskResult = dict[str, Any]
Outcome = Routed | Answered | Escalated | Failed | Retry | Audited
Work = Callable[[Claim], Outcome]


def answer(
    ledger: Ledger, queue: str, work: Work, hands: InFlight
) -> TaskResult | list[TaskResult] | None:
    """Answer a doorbell: work the best job, and others as long as that is a matter of moments.

    A task costs Celery more than a job that is routed or recalled costs us; a job that a model
    works on for longer has a task to itself.

    Returns:
        What Celery and Flower may see of it, a list where there were several; nothing where
        nothing waited.
    """
    told: list[TaskResult] = []
    end = time.monotonic() + QUICK_S
    while (shown := execute(ledger, queue, work, hands, unrung=bool(told))) is not None:
        told.append(shown)
        if hands.closed or len(told) == MAX_JOBS_PER_DOORBELL or time.monotonic() > end:
            break
    return told if len(told) > 1 else next(iter(told), None)


def execute(
    ledger: Ledger, queue: str, work: Work, hands: InFlight, *, unrung: bool = False
) -> TaskResult | None:
    """Take the best job of the queue, work it, write down what came of it.

    Returns:
        What Celery and Flower may see of it; nothing where nothing waited.
    """
    try:
        claim = ledger.claim(queue, unrung=unrung)
    except ForebayError as error:  # the sweeper rings again
        log.warning("cannot claim: %s", error)
        return None
    if claim is None:
        return None
    with hands.holding(claim):
        try:
            return tell(ledger, claim, attempt(work, claim))
        except Lost:
            return {"id": claim.id, "lost": True}


def attempt(work: Work, claim: Claim) -> Outcome:
    """Work the job; an error becomes the outcome that it means."""
    try:
        return work(claim)
    except Lost:
        raise
    except ForebayError as error:
        return meaning(error, claim)
    except Exception as error:  # noqa: BLE001 - the worker outlives any job
        log.error("%s broke on %s at %s", type(error).__name__, claim.id, place(error))  # noqa: TRY400 - the message may hold content
        return Retry("internal", delay_s=backoff(claim))


def meaning(error: ForebayError, claim: Claim) -> Outcome:
    """What passes is tried again later; what a crash interrupted too; the rest has failed."""
    if isinstance(error, EngineBusy):
        # This try never began: what is known of the job is still how the last one ended.
        return Retry(
            claim.record.error or error.code, delay_s=error.retry_after or 0.5, counted=False
        )
    if isinstance(error, PassingError):
        return Retry(error.code, delay_s=error.retry_after or backoff(claim))
    if isinstance(error, EngineDied):
        # Apart from those it died with: a poisonous job must not take the same others along.
        return Retry(error.code, delay_s=backoff(claim))
    return Failed(error)


def backoff(claim: Claim) -> float:
    """Seconds to wait before the next attempt: doubling, with full jitter."""
    return random.uniform(0.5, 1.0) * min(MAX_RETRY_DELAY_S, 2.0 ** (claim.record.attempts - 1))


def tell(ledger: Ledger, claim: Claim, outcome: Outcome) -> TaskResult:
    """Conclude, as soon as Redis listens: what was worked out is worth waiting for it.

    Raises:
        Lost: The job is not ours any more; or it never was since the ledger heard us, and the
            reply got lost. Either way there is nothing left to do.
        Unavailable: Redis did not listen for `PATIENCE_S`.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return conclude(ledger, claim, outcome)
        except Unavailable as error:
            if time.monotonic() > end:
                raise
            log.warning("cannot conclude %s yet: %s", claim.id, error)
            time.sleep(random.uniform(0.5, 1.0))


def conclude(ledger: Ledger, claim: Claim, outcome: Outcome) -> TaskResult:
    """Tell the ledger, under the claim's token.

    Raises:
        Lost: The job is not ours any more; the outcome is dropped.
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
        case Answered(answer, then):
            ledger.settle(claim, answer)
            if then is not None:
                then()
            return shown(answer)
        case Audited(receipt):
            ledger.settle(claim, receipt)
            return shown(receipt)
        case Failed(error, reasons):
            receipt = failed(claim, error, reasons)
            ledger.settle(claim, receipt)
            return shown(receipt)


def recalled(claim: Claim, found: Answer, *, degraded: bool = False) -> Answered:
    """An answer out of the cache, with how this job came to it."""
    reasons = (*claim.record.reasons, Reason.CACHED.value)
    own = {"reasons": reasons, "verdict": claim.record.verdict, "degraded": degraded}
    return Answered(found.model_copy(update=own))


def failed(claim: Claim, error: ForebayError, reasons: tuple[str, ...]) -> Receipt:
    """The receipt of a failure."""
    record = claim.record
    return Receipt(
        **record.heading(),
        status="failed",
        reasons=(*record.reasons, *reasons, error.code),
        error=error.code,
        error_field=error.field,
    )


def shown(receipt: Receipt) -> TaskResult:
    """The few words of a receipt that Flower has room for."""
    shown = receipt.model_dump(
        include={"id", "kind", "lane", "status", "model", "tokens_in", "tokens_out", "cost_usd"}
    )
    return {**shown, "reason": receipt.reason}


def place(error: BaseException) -> str:
    """Where an exception was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-3:]))
