"""One job's path through a worker: claim the job, work it, record its outcome.

Whatever happens while a job is worked becomes one outcome value (`outcomes`); the ledger is told
once, at the end. Nothing that is logged or returned here holds content.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TypeVar

from forebay.routing.errors import EgressDenied, ForebayError, Lost
from forebay.routing.lanes import ROUTE, hop_of
from forebay.routing.ledger.claim import Claim, Selection
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.log_lines.line_handler import LinesTogether
from forebay.routing.logs import Event, event
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.right_of_way import right_of_way
from forebay.workers.runtime.hooks import JobHook, notify_finished, notify_started
from forebay.workers.runtime.outcomes import Dropped, Outcome, Recorded, Retry
from forebay.workers.runtime.recording import record, record_patiently, record_together
from forebay.workers.runtime.retries import outcome_of, outcome_of_defect, outcome_of_denial

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_JOBS_PER_DOORBELL = 1_000
SHARDS_NAMED = 2  # in the result of a doorbell: each still holds the results of its rows
PASS_ON_S = 0.05  # after which a drained worker passes a doorbell on
QUICK_S = 0.3  # after working for longer, a worker waits for the next doorbell
LONG_STAY_S = 2.0  # likewise while jobs end within moments: Celery takes longer for a doorbell

Work = Callable[[Claim], Outcome]
Worked = Sequence[tuple[Claim, Outcome]]  # jobs whose outcomes are ready at the same time
WorkAll = Callable[[Sequence[Claim]], Iterable[Worked]]
Turn = Callable[[str], AbstractContextManager[int]]
Select = Callable[[], Selection]
Take = Callable[..., list[Recorded]]  # `execute` with all but its options


def at_once(most: int) -> Turn:
    """Return the turn of a worker that need not wait, and claims so many jobs at most."""
    return lambda _queue: nullcontext(most)


ONE_AT_ONCE = at_once(1)


def answer_doorbell(
    ledger: Ledger,
    queue: str,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...] = (),
    *,
    unrung: bool = False,
    turn: Turn = ONE_AT_ONCE,
    work_all: WorkAll | None = None,
    select: Select = Selection,
) -> list[Recorded]:
    """Work the best jobs that wait, as long as that takes moments.

    A Celery task costs more than a job that is routed or recalled, so such jobs share a task. A
    job that a model works on has a task to itself. If no job waits, work shards of bulks.

    Args:
        ledger: where the jobs are.
        queue: the queue that the doorbell names.
        work: works one job.
        in_flight: counts the claims of this process.
        hooks: observe each job.
        unrung: no doorbell called.
        turn: lets this thread claim, and tells how many jobs at most in one round trip.
        work_all: works such jobs together, if that is better than one after the other, and yields
            them as their outcomes are ready. It raises nothing.
        select: returns which jobs to claim, and whose go first.

    Returns:
        How each job stands; empty if no job waited.
    """
    take = partial(execute, ledger, queue, work, in_flight, hooks, select=select)
    done = _work_jobs(partial(take, work_all=work_all), turn, in_flight, unrung=unrung)
    return done or _work_shards(take, queue, in_flight, unrung=unrung)


def pass_on(ledger: Ledger, queue: str, in_flight: InFlight) -> None:
    """Ring again for another worker: Celery's consumer takes doorbells until it has stopped.

    An operator's order reaches the consumer within a second. Until then, this worker would take
    each doorbell again at once.
    """
    if not in_flight.closed:
        time.sleep(PASS_ON_S)
    try:
        ledger.ring(queue)
    except ForebayError as error:  # the sweeper rings again
        log.warning("cannot ring: %s", error, extra=event(Event.CLAIM_FAILED, queue=queue))


def _work_jobs(take: Take, turn: Turn, in_flight: InFlight, *, unrung: bool) -> list[Recorded]:
    """Work jobs as long as that takes moments, and a claim leaves jobs waiting."""
    done: list[Recorded] = []
    began, most = time.monotonic(), 1

    @contextmanager
    def noted(queue: str) -> Iterator[int]:
        nonlocal most
        with turn(queue) as most:
            yield most

    while recorded := take(turn=noted, unrung=unrung or bool(done)):
        done += recorded
        if len(recorded) < most:  # none was left, and whatever came since has rung
            break
        stay_s = LONG_STAY_S if in_flight.ends_soon else QUICK_S
        if in_flight.closed or len(done) >= MAX_JOBS_PER_DOORBELL:
            break
        if time.monotonic() - began > stay_s:
            break
    return done


def _work_shards(take: Take, queue: str, in_flight: InFlight, *, unrung: bool) -> list[Recorded]:
    """Work shards until none waits, if this process has a thread to spare for them.

    In a local queue only the first shard rings a doorbell, so the thread goes on. In the router's
    queue each shard has its own, and jobs go before shards, so the thread returns soon.
    """
    if in_flight.closed or in_flight.drained:
        return []
    if not in_flight.shard_places.acquire(blocking=False):
        return []
    done: deque[Recorded] = deque(maxlen=SHARDS_NAMED)
    end = time.monotonic() + QUICK_S
    try:
        while recorded := take(unrung=unrung or bool(done), shards=True):
            done += recorded
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
    turn: Turn = ONE_AT_ONCE,
    unrung: bool = False,
    shards: bool = False,
    work_all: WorkAll | None = None,
    select: Select = Selection,
) -> list[Recorded]:
    """Claim the best jobs of the queue, work them and record their outcomes.

    `turn` tells how many. `unrung` says that no doorbell called for the first job, and `shards`
    claims a shard in place of a job; see `Ledger.claim_many`. `work_all` works several claims
    together.

    Returns:
        How each job stands; empty if no job waited.
    """
    with ExitStack() as stack:
        with turn(queue) as most:
            if not most:  # the worker began to drain while this thread waited for its turn
                if not unrung:
                    pass_on(ledger, queue, in_flight)
                return []
            with in_flight.claiming():
                claims = _claimed(ledger, queue, most, select(), unrung=unrung, shards=shards)
                in_flight.hold(claims)
                stack.callback(in_flight.release, claims)
        for claim in claims:
            notify_started(hooks, claim)
        done: list[Recorded] = []
        for worked in _worked(work, claims, work_all):
            done += _record_all(ledger, hooks, in_flight, worked)
            in_flight.release([claim for claim, _ in worked])
        return done


def _claimed(
    ledger: Ledger, queue: str, most: int, selection: Selection, *, unrung: bool, shards: bool
) -> Sequence[Claim]:
    """Claim jobs, or a shard; claim none if Redis is away."""
    bell_less = shards and hop_of(queue) == "local"  # such a shard has no doorbell of its own
    try:
        return ledger.claim_many(
            queue, most, unrung=unrung and not bell_less, shards=shards, selection=selection
        )
    except ForebayError as error:  # the sweeper rings again
        log.warning("cannot claim: %s", error, extra=event(Event.CLAIM_FAILED, queue=queue))
        return []


def work_claim(
    ledger: Ledger,
    work: Work,
    in_flight: InFlight,
    hooks: tuple[JobHook, ...],
    work_all: WorkAll | None,
    claim: Claim,
) -> None:
    """Work a job that a thread of the reserve has claimed and holds, and record its outcome."""
    notify_started(hooks, claim)
    for worked in _worked(work, [claim], work_all):
        _record_all(ledger, hooks, in_flight, worked)


def _worked(work: Work, claims: Sequence[Claim], work_all: WorkAll | None) -> Iterator[Worked]:
    """Yield the outcomes of jobs that are worked together, or of one after the other."""
    if work_all is not None:
        yield from work_all(claims)
    else:
        for claim in claims:
            yield [(claim, attempt(work, claim))]


def _record_all(
    ledger: Ledger, hooks: tuple[JobHook, ...], in_flight: InFlight, worked: Worked
) -> list[Recorded]:
    """Record outcomes that are ready at the same time, as far as that goes in one round trip."""
    together = record_together(ledger, worked) if len(worked) > 1 else {}
    done = []
    with LinesTogether():
        for claim, outcome in worked:
            right_of_way.give_way()
            recorded = Recorded(claim.id, Dropped(), "lost")
            try:
                recorded = together.get(claim.token) or _recorded(ledger, claim, outcome)
            finally:
                notify_finished(hooks, claim, recorded)
            _count(in_flight, claim, recorded)
            done.append(recorded)
    return done


def _count(in_flight: InFlight, claim: Claim, recorded: Recorded) -> None:
    """Count a job that goes back to its queue, or is lost."""
    goes_back = isinstance(recorded.outcome, Retry) and recorded.state == "waiting"
    if goes_back or isinstance(recorded.outcome, Dropped):
        in_flight.gives_back(claim)


def _recorded(ledger: Ledger, claim: Claim, outcome: Outcome) -> Recorded:
    """Record the outcome of a job."""
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


def attempt(work: Callable[[Claim], T], claim: Claim) -> T | Outcome:
    """Work a job, or do a step of it; turn whatever that raises into the outcome it means."""
    try:
        return work(claim)
    except Lost:
        return Dropped()
    except ForebayError as error:
        return outcome_of(error, claim)
    except Exception as error:  # noqa: BLE001 - the worker outlives any job
        return outcome_of_defect(error, claim)
