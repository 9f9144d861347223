"""A job's path through a worker: claim the job, work it, record its outcome.

Whatever happens while a job is worked becomes one outcome value (`outcomes`); the ledger is told
once, at the end. Nothing that is logged or returned here holds content.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
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


def at_once(most: int) -> Turn:
    """Return the turn of a worker that need not wait, and claims so many jobs at most."""
    return lambda _queue: nullcontext(most)


ONE_AT_ONCE = at_once(1)


class Executor:
    """Claims the jobs of a worker process, has them worked, and records their outcomes.

    1. `answer_doorbell` works the best jobs that wait in a queue, or shards of bulks.
    2. `work_claim` works a job that a thread of the reserve has claimed.

    Args:
        ledger: where the jobs are.
        work: works one job.
        in_flight: counts the claims of this process.
        hooks: observe each job.
        turn: lets a thread claim, and tells how many jobs at most in one round trip.
        work_all: works such jobs together, if that is better than one after the other, and yields
            them as their outcomes are ready. It raises nothing.
        select: returns which jobs to claim, and whose go first.
    """

    def __init__(
        self,
        ledger: Ledger,
        work: Work,
        in_flight: InFlight,
        hooks: tuple[JobHook, ...] = (),
        *,
        turn: Turn = ONE_AT_ONCE,
        work_all: WorkAll | None = None,
        select: Select = Selection,
    ) -> None:
        self._ledger, self._in_flight, self._hooks = ledger, in_flight, hooks
        self._work, self._work_all = work, work_all or self._one_by_one
        self._turn, self._select = turn, select

    def answer_doorbell(self, queue: str, *, unrung: bool = False) -> list[Recorded]:
        """Work the best jobs that wait in a queue, as long as that takes moments.

        A Celery task costs more than a job that is routed or recalled, so such jobs share a task. A
        job that a model works on has a task to itself. If no job waits, work shards of bulks.

        Args:
            queue: the queue that the doorbell names.
            unrung: no doorbell called.

        Returns:
            How each job stands; empty if no job waited.
        """
        return self._work_jobs(queue, unrung=unrung) or self._work_shards(queue, unrung=unrung)

    def work_claim(self, claim: Claim) -> Recorded:
        """Work a job that is claimed and held; return how it stands once that is recorded."""
        notify_started(self._hooks, claim)
        (done,) = (each for worked in self._work_all([claim]) for each in self._record_all(worked))
        return done

    def _work_jobs(self, queue: str, *, unrung: bool) -> list[Recorded]:
        """Work jobs as long as that takes moments, and a claim leaves jobs waiting."""
        done: list[Recorded] = []
        began, more = time.monotonic(), True
        while more:
            claims, more = self._claim_jobs(queue, unrung=unrung or bool(done))
            done += self._work_held(claims, self._work_all)
            more = more and self._goes_on(began, len(done))
        return done

    def _claim_jobs(self, queue: str, *, unrung: bool) -> tuple[Sequence[Claim], bool]:
        """Claim jobs when it is this thread's turn; tell whether the claim may have left some."""
        with self._turn(queue) as most:
            if not most:  # the worker began to drain while this thread waited for its turn
                if not unrung:
                    pass_on(self._ledger, queue, self._in_flight)
                return [], False
            claims = self._claim(queue, most, unrung=unrung)
        return claims, len(claims) >= most  # if none was left, whatever came since has rung

    def _goes_on(self, began: float, jobs: int) -> bool:
        """Return whether a thread works more jobs after these, without another doorbell."""
        stay_s = LONG_STAY_S if self._in_flight.ends_soon else QUICK_S
        if self._in_flight.closed or jobs >= MAX_JOBS_PER_DOORBELL:
            return False
        return time.monotonic() - began <= stay_s

    def _work_shards(self, queue: str, *, unrung: bool) -> list[Recorded]:
        """Work shards until none waits, if this process has a thread to spare for them.

        In a local queue only the first shard rings a doorbell, so the thread goes on. In the
        router's queue each shard has its own, and jobs go before shards, so the thread returns
        soon.
        """
        in_flight = self._in_flight
        closed = in_flight.closed or in_flight.drained
        if closed or not in_flight.shard_places.acquire(blocking=False):
            return []
        rung = hop_of(queue) != "local"  # by each shard, so each claim takes a doorbell along
        done: deque[Recorded] = deque(maxlen=SHARDS_NAMED)
        end = time.monotonic() + QUICK_S
        try:
            while claims := self._claim(
                queue, 1, unrung=rung and (unrung or bool(done)), shards=True
            ):
                done += self._work_held(claims, self._one_by_one)
                if in_flight.closed or (queue == ROUTE and time.monotonic() > end):
                    break
        finally:
            in_flight.shard_places.release()
        return list(done)

    def _claim(
        self, queue: str, most: int, *, unrung: bool, shards: bool = False
    ) -> Sequence[Claim]:
        """Claim jobs, or a shard, and hold them; claim none if Redis is away."""
        with self._in_flight.claiming():
            try:
                claims = self._ledger.claim_many(
                    queue, most, unrung=unrung, shards=shards, selection=self._select()
                )
            except ForebayError as error:  # the sweeper rings again
                log.warning("cannot claim: %s", error, extra=event(Event.CLAIM_FAILED, queue=queue))
                return []
            self._in_flight.hold(claims)
        return claims

    def _work_held(self, claims: Sequence[Claim], work_all: WorkAll) -> list[Recorded]:
        """Work claims that are held, and release each once its outcome is recorded."""
        done: list[Recorded] = []
        try:
            for claim in claims:
                notify_started(self._hooks, claim)
            for worked in work_all(claims):
                done += self._record_all(worked)
                self._in_flight.release([claim for claim, _ in worked])
        finally:
            self._in_flight.release(claims)
        return done

    def _one_by_one(self, claims: Sequence[Claim]) -> Iterator[Worked]:
        """Yield the outcomes of jobs that are worked one after the other."""
        for claim in claims:
            yield [(claim, attempt(self._work, claim))]

    def _record_all(self, worked: Worked) -> list[Recorded]:
        """Record outcomes that are ready at the same time, in one round trip as far as it goes."""
        together = record_together(self._ledger, worked) if len(worked) > 1 else {}
        done = []
        with LinesTogether():
            for claim, outcome in worked:
                right_of_way.give_way()
                recorded = Recorded(claim.id, Dropped(), "lost")
                try:
                    recorded = together.get(claim.token) or _recorded(self._ledger, claim, outcome)
                finally:
                    notify_finished(self._hooks, claim, recorded)
                self._count(claim, recorded)
                done.append(recorded)
        return done

    def _count(self, claim: Claim, recorded: Recorded) -> None:
        """Count a job that goes back to its queue, or is lost."""
        goes_back = isinstance(recorded.outcome, Retry) and recorded.state == "waiting"
        if goes_back or isinstance(recorded.outcome, Dropped):
            self._in_flight.gives_back(claim)


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
