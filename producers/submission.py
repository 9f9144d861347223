"""Putting jobs on with patience, watching them, and taking them off if their caller goes away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol
from weakref import WeakSet

from redis.backoff import EqualJitterBackoff

from forebay.producers.access import Access
from forebay.producers.handles import JobHandle, answer_model_of
from forebay.producers.options import passed_deadline
from forebay.producers.results import Result, Submitted, about
from forebay.producers.wakeups import Wakeups
from forebay.routing.errors import ForebayError, ResultTimeout, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event
from forebay.routing.store.event_loop import pause
from forebay.routing.tracing import spans

log = logging.getLogger(__name__)

MIN_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0  # pauses between tries double, with jitter
MAX_CANCELS_PER_ROUND_TRIP = 500


class Unfinished(Protocol):
    """The window of a `map` that was not iterated to its end."""

    def lost(self) -> list[str]:
        """Return the jobs that end with the map."""


class Submitter:
    """Puts the jobs of a client on the ledger, and tries again for at most `patience` seconds.

    A job keeps its id between tries. So a job that Redis took in, and whose reply got lost, is not
    taken in twice. Without patience a refusal is an error at once.
    """

    def __init__(self, access: Access, ledger: Ledger, wakeups: Wakeups, patience: float) -> None:
        self._access, self._ledger, self._wakeups = access, ledger, wakeups
        self._patience = patience
        self.windows: WeakSet[Unfinished] = WeakSet()
        self._uncancelled: set[str] = set()  # jobs whose cancelling has begun
        self._pauses = EqualJitterBackoff(cap=MAX_PAUSE_S, base=MIN_PAUSE_S)

    def check_open(self) -> None:
        """Raise `Unavailable` if the client was closed."""
        self._access.check_open()

    def submit(self, job: Job) -> JobHandle[Any]:
        """Submit a job that nobody waits for yet, or raise the error that refuses it."""
        self._access.check(job)
        with about(job.id):
            created = passed_deadline(job) or self.create([job])[0]
            if isinstance(created, ForebayError):
                raise created
        return JobHandle(created, answer_model_of(job))

    def begin(self, job: Job) -> Submitted[Any]:
        """Submit a job and return its id and future, or raise the error that refuses it."""
        self._access.check(job)
        with about(job.id):
            submitted = self._submit_watched([job])[0]
            if isinstance(submitted, ForebayError):
                raise submitted
        return submitted

    def begin_all(
        self, jobs: Sequence[Job | JobHandle[Any]]
    ) -> list[Submitted[Any] | ForebayError]:
        """Submit jobs, and watch the jobs of handles; return each one's id and future.

        In place of a job that is refused or unknown stands the error.
        """
        new = [job for job in jobs if isinstance(job, Job)]
        old = [job for job in jobs if not isinstance(job, Job)]
        submitted = iter(self._submit_watched(new) if new else ())
        futures = iter(self._wakeups.watch_all(old) if old else ())
        return [
            next(submitted) if isinstance(job, Job) else _watched(job, next(futures))
            for job in jobs
        ]

    def submit_all(
        self, made: Sequence[Job | JobHandle[Any] | ForebayError]
    ) -> tuple[list[JobHandle[Any] | ForebayError], ForebayError | None]:
        """Submit jobs that nobody waits for yet; handles and errors among them stay as they are.

        Returns:
            The handle of each job, or the error in its place; and the error that kept all of them
            from being submitted, if there is one.
        """
        checked = [(isinstance(one, Job) and passed_deadline(one)) or one for one in made]
        jobs = [one for one in checked if isinstance(one, Job)]
        away: ForebayError | None = None
        try:
            replies = iter(self.create(jobs) if jobs else ())
        except ForebayError as error:
            away = error
            replies = iter([type(error)(error.message, field=error.field) for _ in jobs])
        handles = [_handle(one, next(replies)) if isinstance(one, Job) else one for one in checked]
        return handles, away

    def cancel_all(self, job_ids: Sequence[str]) -> None:
        """Cancel these jobs; log those that Redis cannot cancel now, which go on.

        Of a client that is closed all are cancelled already (`end`). If this is interrupted, `end`
        cancels the rest.
        """
        if self._access.closed:
            return
        self._uncancelled.update(job_ids)
        for start in range(0, len(job_ids), MAX_CANCELS_PER_ROUND_TRIP):
            batch = job_ids[start : start + MAX_CANCELS_PER_ROUND_TRIP]
            try:
                self._ledger.cancel_all(batch)
            except ForebayError as error:
                left = len(job_ids) - start
                log.warning(
                    "%d jobs go on, beginning with %s: %s", left, batch[0], error,
                    extra=event(Event.REDIS_AWAY, job=batch[0]),
                )  # fmt: skip
                self._uncancelled.difference_update(job_ids)
                return
            self._uncancelled.difference_update(batch)

    def end(self) -> None:
        """Cancel the jobs of maps that were not iterated to their end, as the client is closed."""
        left = [job_id for window in list(self.windows) for job_id in window.lost()]
        self.cancel_all([*self._uncancelled, *left])

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Return the id of each job, or the error that refused it; see `Ledger.create`.

        Raises:
            Unavailable: Redis could not be reached at the last try. A try that is under way when
                the patience ends is not cut short.
        """
        with spans.span("forebay.submit", kind="producer", forebay__jobs=len(jobs)) as span:
            if len(jobs) == 1:
                span.set(forebay__job=jobs[0].id, forebay__kind=jobs[0].kind)
            return self._create(jobs, watcher)

    def _create(self, jobs: Sequence[Job], watcher: str) -> list[str | ForebayError]:
        end = time.monotonic() + self._patience
        created: dict[str, str | ForebayError] = {}
        remaining = list(jobs)
        for tries in count(1):
            pause_s = min(self._pauses.compute(tries), end - time.monotonic())
            try:
                replies = self._ledger.create(remaining, watcher)
            except Unavailable:
                if pause_s <= 0:
                    raise
            else:
                created |= {job.id: reply for job, reply in zip(remaining, replies, strict=True)}
                remaining = [job for job in remaining if isinstance(created[job.id], Unavailable)]
            if not remaining or pause_s <= 0:
                break
            pause(pause_s)
        return [created[job.id] for job in jobs]

    def _submit_watched(self, jobs: Sequence[Job]) -> list[Submitted[Any] | ForebayError]:
        refusals = [passed_deadline(job) for job in jobs]
        timely = [job for job, refusal in zip(jobs, refusals, strict=True) if refusal is None]
        with self._wakeups.creating(timely) as futures:
            created = self.create(timely, self._wakeups.stream) if timely else []
        submitted = (
            self._submitted(job, reply, futures[job.id])
            for job, reply in zip(timely, created, strict=True)
        )
        return [refusal or next(submitted) for refusal in refusals]

    def _submitted(
        self, job: Job, reply: str | ForebayError, future: Future[Result]
    ) -> Submitted[Any] | ForebayError:
        handle = _handle(job, reply)
        if isinstance(handle, ForebayError):
            future.cancel()
            return handle
        if handle != job.id:  # the first job under the idempotency key
            future.cancel()
            return _watched(handle, self._wakeups.watch_all([handle])[0])
        return handle, future


def _handle(job: Job, reply: str | ForebayError) -> JobHandle[Any] | ForebayError:
    if not isinstance(reply, ForebayError):
        return JobHandle(reply, answer_model_of(job))
    reply.job_id = reply.job_id or job.id
    return reply


def _watched(
    handle: JobHandle[Any], future: Future[Result] | ForebayError
) -> Submitted[Any] | ForebayError:
    return future if isinstance(future, ForebayError) else (handle, future)


class Ties:
    """The jobs of a client that are cancelled if their caller goes away before they end.

    1. `tie` remembers a job until it ends.
    2. `waiting` cancels a job if its block, in which the caller waits for it, is interrupted.
    3. `cancel_all` cancels what is left when the client is closed.
    """

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self._tied: dict[str, Future[Any]] = {}

    def tie(self, job_id: str, future: Future[Any]) -> None:
        """Remember a job until its future is done."""
        self._tied[job_id] = future
        future.add_done_callback(lambda _: self._tied.pop(job_id, None))

    @contextmanager
    def waiting(self, job_id: str, *, tied: bool) -> Iterator[None]:
        """Cancel the job if an error ends this block.

        Args:
            job_id: the job.
            tied: the caller of this block wants it. Otherwise only a job that was tied before is
                cancelled, and not for a wait that took too long: the caller may ask again.
        """
        was_tied = job_id in self._tied
        try:
            yield
        except BaseException as error:
            if tied or (was_tied and not isinstance(error, ResultTimeout)):
                self._submitter.cancel_all([job_id])
            raise

    def cancel_all(self) -> None:
        """Cancel all tied jobs."""
        self._submitter.cancel_all(list(self._tied))
