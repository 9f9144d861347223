"""Rules for retries: which errors are retried, whether the attempt counts, and after how long.

| error                     | outcome   | counted | delay                                      |
|---------------------------|-----------|---------|--------------------------------------------|
| `EngineBusy`              | retry     | no      | the engine's `retry_after`, or 0.5 s       |
| `RedisUnavailable`        | retry     | no      | its `retry_after`, or the backoff          |
| another `PassingError`    | retry     | yes     | its `retry_after`, or the backoff          |
| `EngineDied`              | retry     | yes     | the backoff                                |
| another `ForebayError`    | failure   |         |                                            |
| any other exception       | retry     | yes     | the backoff                                |
| a refusal by the ledger   | retry     | yes     | none                                       |
| none, its kind is paused  | retry     | no      | about 20 s                                 |

A job whose counted attempts are used up is dead (`Ledger.retry`). The bedrock lane chooses its own
delays if it has no answer (`wait_s` in `workers/frontier/way_down.py`).
"""

from __future__ import annotations

import logging
from dataclasses import replace

from forebay.routing.errors import (
    EgressDenied,
    EngineBusy,
    EngineDied,
    ForebayError,
    PassingError,
    RedisUnavailable,
)
from forebay.routing.ledger.claim import Claim
from forebay.routing.limits.lanes.lane_check import LaneCheck
from forebay.routing.logs import Event, event, place
from forebay.routing.store.backoff import backoff, jittered
from forebay.workers.runtime.outcomes import Failed, Retry, Routed

log = logging.getLogger(__name__)

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 60.0
ENGINE_BUSY_DELAY_S = 0.5
INTERNAL = "internal"  # the error of a job that broke the worker's code
PAUSED = "paused"
PAUSE_S = 20.0  # about so long a job of a paused kind waits before it is looked at again


def outcome_of(error: ForebayError, claim: Claim) -> Retry | Failed:
    """Return the outcome of a job whose work raised this error."""
    if isinstance(error, EngineBusy):
        # The attempt never began, so the record keeps the error of the last one that did.
        last = Retry.after(error, delay_s=error.retry_after or ENGINE_BUSY_DELAY_S, counted=False)
        code, note = claim.record.error, claim.record.error_note or ""
        return replace(last, code=code, note=note) if code else last
    if isinstance(error, PassingError):
        counted = not isinstance(error, RedisUnavailable)
        return Retry.after(error, delay_s=error.retry_after or delay_s(claim), counted=counted)
    if isinstance(error, EngineDied):
        # The jitter separates the jobs that the engine died with: one of them may kill engines,
        # and must not take the same others along again.
        return Retry.after(error, delay_s=delay_s(claim))
    return Failed(error)


def outcome_of_defect(error: Exception, claim: Claim) -> Retry:
    """Log an exception that is not ours by type and place, and return a retry.

    The exception's message is not logged: it may hold content.
    """
    log.error(
        "%s broke on %s at %s",
        type(error).__name__,
        claim.id,
        place(error),
        extra=event(Event.JOB_BROKE, job=claim.id),
    )
    return Retry(INTERNAL, note=note_of_defect(error), delay_s=delay_s(claim))


def note_of_defect(error: Exception) -> str:
    """Return what a receipt says of an exception that is not ours."""
    return f"an error inside the worker ({type(error).__name__}), whose log says where"


def outcome_of_denial(error: EgressDenied, claim: Claim) -> Retry:
    """Return the outcome of a job that the ledger refused to send to Bedrock.

    The job's record was set to `deny` after it was claimed. The next attempt reads the record anew:
    under the policy the job then stays in the local lane, or fails if it is pinned to Bedrock.
    """
    log.warning(
        "%s may not leave any more; it is decided on again",
        claim.id,
        extra=event(Event.JOB_DENIED, job=claim.id),
    )
    return Retry.after(error)


def outcome_of_pause() -> Retry:
    """Return the outcome of a job whose kind an operator has paused."""
    return Retry(PAUSED, delay_s=jittered(PAUSE_S), counted=False)


def outcome_of_place(check: LaneCheck, claim: Claim) -> Retry | Routed | None:
    """Return the outcome of a job that skipped the router and cannot be worked here.

    It waits if its kind is paused, and goes to another pool if the policy names another by now.
    `None` if this is its place.
    """
    record = claim.record
    if check.paused(record):
        return outcome_of_pause()
    queue = check.queue(record)
    if queue == record.queue:
        return None
    return Routed(queue, record.egress, ",".join(record.reasons), record.verdict)


def delay_s(claim: Claim) -> float:
    """Return the seconds before the next attempt: 1, 2, 4, ... up to 60, with jitter."""
    return backoff(claim.record.attempts, first_s=FIRST_DELAY_S, max_s=MAX_DELAY_S)
