"""The reserve: threads that take jobs without doorbells while all threads of Celery are busy."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from forebay.routing.base import Kind
from forebay.routing.errors import ForebayError
from forebay.routing.ledger.claim import Claim, Selection
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event, place
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.right_of_way import right_of_way

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.01  # how long a job waits at most until a thread of the reserve sees it
LESS_OFTEN_S = 0.05  # likewise while a slot is soon free anyway
AFTER_NOTHING_S = 0.02  # likewise while jobs wait that the reserve does not take
LISTEN_S = 0.1  # how long a thread waits for the express doorbell at a time
CLOSED_S = 1.0  # how late a thread notices that the worker drains
REDIS_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class ReserveTerms:
    """How large a reserve is, and what it is for.

    Attributes:
        threads: jobs at once.
        interactive: for interactive jobs only. No tenant takes more than half of the threads, so
            that another tenant does not wait for long answers.
        kinds: for jobs of these kinds only, if any are named.
        shares: only for tenants for which the worker works fewer jobs than an equal share, and no
            tenant takes more than half of the threads.
    """

    threads: int
    interactive: bool = False
    kinds: frozenset[Kind] = frozenset()
    shares: bool = False

    def selection(self, held: Counter[str], in_flight: InFlight) -> Selection:
        """Return which jobs may be claimed, if each tenant holds so many threads."""
        most = max(1, self.threads // 2)
        full = {tenant for tenant, count in held.items() if count >= most}
        if not self.shares:
            return Selection(
                self.interactive, self.kinds, frozenset(full if self.interactive else ())
            )
        working = in_flight.by_tenant()
        share = max(1, in_flight.slots // max(1, len(working)))
        full |= {tenant for tenant, count in working.items() if count >= share}
        return Selection(self.interactive, self.kinds, frozenset(full), working)


class Reserve:
    """Some threads of a worker, for jobs that must not wait for the others.

    Bulk jobs, and jobs with long answers or of one tenant, may hold all threads of Celery; then no
    doorbell is answered. Meanwhile one thread of the reserve at a time looks for jobs. It works the
    job that it finds, and another thread looks.

    While jobs end within moments, a thread for interactive jobs waits for the express doorbell: a
    job of a tenant that has few in work goes between those of another tenant's long queue.

    Args:
        terms: which jobs, and how many at once.
        in_flight: tells whether Celery has a free thread; the threads end once it is closed.
        ledger: where jobs are claimed.
        queues: returns the queues that the worker serves.
        work: works a job that is claimed and held, and records its outcome.
    """

    def __init__(
        self,
        terms: ReserveTerms,
        in_flight: InFlight,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        work: Callable[[Claim], object],
    ) -> None:
        self._terms, self._in_flight, self._ledger = terms, in_flight, ledger
        self._queues, self._work = queues, work
        self._looking, self._counting = threading.Lock(), threading.Lock()
        self._held: Counter[str] = Counter()  # tenant -> threads that work its jobs

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._terms.threads):
            name = f"reserve-{number}"
            threading.Thread(target=self._run, daemon=True, name=name).start()

    def _run(self) -> None:
        while not self._in_flight.closed:
            try:
                self._take_one()
            except Exception as error:  # noqa: BLE001 - such as an outcome that Redis refuses
                log.error(  # noqa: TRY400 - the message may hold content
                    "a thread of the reserve goes on after %s at %s",
                    type(error).__name__,
                    place(error),
                    extra=event(Event.JOB_BROKE),
                )

    def _take_one(self) -> None:
        """Look until a job is found, and work it."""
        with ExitStack() as held:
            with self._looking:
                claim = self._look(held)
            if claim is not None:
                held.callback(self._count, claim, -1)
                self._work(claim)

    def _look(self, held: ExitStack) -> Claim | None:
        """Look until a job is found, and hold it; return `None` on a drain."""
        while not self._in_flight.closed:
            try:
                claim = self._next(held)
            except ForebayError as error:
                log.warning("cannot claim: %s", error, extra=event(Event.CLAIM_FAILED))
                time.sleep(REDIS_RETRY_S)
                continue
            if claim is not None:
                self._count(claim, 1)
                return claim
        return None

    def _next(self, held: ExitStack) -> Claim | None:
        """Hold the job that goes next; return `None` after a moment if there is none.

        Where jobs end within moments, a thread of Celery soon claims the next ones anyway. Then the
        express doorbell tells of the jobs that need not wait for that.
        """
        if self._terms.interactive and self._in_flight.quick:
            return self._newcomer(held)
        if not self._in_flight.filled(CLOSED_S):
            return None
        if self._in_flight.ends_soon:
            time.sleep(LESS_OFTEN_S)
        return self._found(held)

    def _count(self, claim: Claim, change: int) -> None:
        with self._counting:
            self._held[claim.tenant] += change
            self._held = +self._held  # without the tenants that hold no thread

    def _found(self, held: ExitStack) -> Claim | None:
        """Claim a job and hold it, or return `None` after a moment."""
        waiting = self._ledger.queues_with_jobs(self._queues(), bulk=not self._terms.interactive)
        selection = self._terms.selection(self._held, self._in_flight)
        for queue in waiting:
            if claim := self._claimed(held, queue, selection):
                return claim
        time.sleep(AFTER_NOTHING_S if waiting else LOOK_EVERY_S)
        return None

    def _newcomer(self, held: ExitStack) -> Claim | None:
        """Wait for the job of a tenant that has few in work, and hold it.

        It has the right of way from then on: other threads wait while it is claimed.
        """
        called = self._ledger.newcomer(self._queues(), LISTEN_S)
        many = self._in_flight.many()
        if called is None or called.tenant in many or not self._in_flight.takes:
            return None
        selection = self._terms.selection(self._held, self._in_flight)
        selection = replace(selection, passed_over=selection.passed_over | many)
        with right_of_way.computing(first=True):
            return self._claimed(held, called.queue, selection)

    def _claimed(self, held: ExitStack, queue: str, selection: Selection) -> Claim | None:
        """Claim a job and hold it, if one of the selection waits."""
        with self._in_flight.claiming():
            claim = self._ledger.claim(queue, unrung=True, selection=selection)
            if claim is not None:
                held.enter_context(self._in_flight.holding(claim, reserved=True))
            return claim
