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

from forebay.routing.errors import EgressDenied, ForebayError, Lost
from forebay.routing.lanes import ROUTE, hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.hooks import JobHook, notify_finished, notify_started
from forebay.workers.runtime.outcomes import Dropped, Outcome, Recorded
from forebay.workers.runtime.recording import record, record_patiently
from forebay.workers.runtime.retries import outcome_of, outcome_of_defect, outcome_of_denial

log = logging.getLogger(__name__)

MAX_JOBS_PER_DOORBELL = 50
SHARDS_NAMED = 2  # in the result of a doorbell: each still holds the results of its rows
QUICK_S = 0.05  # after working for longer, a worker waits for the next doorbell

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
    return work_claim(ledger, work, in_flight, hooks, claim) if claim else None


def work_claim(
    ledger: Ledger,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...],
    claim: Claim,
    *,
    reserved: bool = False,
) -> Recorded:
    """Work a claimed job and record its outcome; `reserved` if a thread of the reserve works it.

    Returns:
        How the job stands.
    """
    with in_flight.holding(claim, reserved=reserved):
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
