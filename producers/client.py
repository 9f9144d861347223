"""The client: submit jobs, and get their answers.

from forebay import Client, Summarize

with Client(tenant="support") as client:
answer = client.run(Summarize(text=ticket, max_words=30))
print(answer.content.text, answer.lane, answer.cost_usd)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import redis

from forebay.producers.access import Access
from forebay.producers.arguments import (
    checked_limit,
    checked_patience,
    checked_redis,
    checked_settings,
    checked_tenant,
    checked_timeout,
)
from forebay.producers.bulk.methods import BulkMethods
from forebay.producers.explain import explanation
from forebay.producers.handles import JobHandle, answer_model_of
from forebay.producers.mapping import ContentT, Window, answers
from forebay.producers.options import Options, make_job, passed_deadline
from forebay.producers.results import Result, Submitted, about, answer_of, wait
from forebay.producers.submission import PatientSubmitter, doorbell, submit_watched
from forebay.producers.wakeups import Wakeups
from forebay.routing.errors import ForebayError, UnknownJob
from forebay.routing.jobs import Answer, Answerable, Job, JobStatus
from forebay.routing.ledger.dead_letters import Changes, DeadJob, DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import AnyContent
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect

#: A content that is known to be one of ours, so that the overloads of `result` agree.
KnownT = TypeVar("KnownT", bound=AnyContent)


class Client(BulkMethods):
    """A tenant's access to Forebay. Safe to share between threads.

    Close it, or use it in a `with` statement. It connects to Redis at its first call. Methods raise
    only errors of `forebay.routing.errors`; after `close` that is `Unavailable`. After a fork the
    child can use the client too; a future belongs to the process that made it.

    Args:
        tenant: the owner of the jobs. A client sees the jobs of its tenant only.
        settings: where Redis is; by default from the environment (`FOREBAY_REDIS_URL`, ...).
        redis: a Redis client to use instead of a new one; it is not closed.
        patience: seconds that a submit (also in `run` and `map`) keeps trying while Redis is away,
            full, or has too many jobs waiting. By default such a submit fails at once.

    Raises:
        Misconfigured: A setting or an argument is wrong; the error names it.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        redis: redis.Redis | None = None,
        patience: float = 0.0,
    ) -> None:
        self.tenant = checked_tenant(tenant)
        settings = read_settings() if settings is None else checked_settings(settings)
        lent = None if redis is None else checked_redis(redis)
        self._owns_redis = lent is None
        self._access = Access(self.tenant)
        self._ledger = Ledger(lent or connect(settings), settings, lambda: doorbell(settings))
        self._submitter = PatientSubmitter(self._ledger, checked_patience(patience))
        self._dead_letters = DeadLetters(self._ledger, tenant)
        self._wakeups = Wakeups(self._ledger, tenant)

    def submit(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> JobHandle[ContentT]:
        """Submit a job. When this returns, the job is stored and will not be lost.

        Args:
            request: a request (`Classify`, `Extract`, ...), or a whole `Job`.
            options: `egress`, `deadline` and the like for a request; see `Job`, which has its own.

        Returns:
            The job's id; if the idempotency key was used before, the id of that first job.

        Raises:
            InvalidJob: A field is wrong, the deadline has passed, or the idempotency key was used
                for another job, whose id is the error's `job_id`.
            EgressDenied: The job is pinned to Bedrock and may not leave the building.
            Unavailable: Redis cannot be reached or is full, and stayed so for `patience` seconds.
                It is safe to submit the same `Job` again, or a request under the same idempotency
                key: there will be one job.
        """
        job = self.job(request, **options)
        self._access.check(job)
        with about(job.id):
            created = passed_deadline(job) or self._submitter.create([job])[0]
            if isinstance(created, ForebayError):
                raise created
        return JobHandle(created, answer_model_of(job))

    @overload
    def result(self, job_id: JobHandle[KnownT], timeout: float | None = None) -> Answer[KnownT]: ...
    @overload
    def result(self, job_id: str, timeout: float | None = None) -> Answer: ...
    def result(self, job_id: str, timeout: float | None = None) -> Answer[Any]:
        """Return the answer of a job; wait for it at most `timeout` seconds, without polling.

        Args:
            job_id: what `submit` returned. An id that was stored meanwhile gives the same answer,
                with a dictionary in place of the pydantic model that `Extract` was given.
            timeout: seconds; `None` waits as long as it takes.

        Raises:
            ResultTimeout: The job has not ended by then. It goes on; `error.job_id` is its id.
            UnknownJob: The tenant has no such job.
            BadAnswer: No answer passed its checks, or the model that `Extract` was given refuses
                the object.
            ForebayError: The job ended without an answer; the error's class and `code` say why.
        """
        timeout = checked_timeout(timeout)
        with about(job_id):
            return answer_of(wait(job_id, self.future(job_id), timeout))

    def run(
        self,
        request: Answerable[ContentT],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Answer[ContentT]:
        """Submit a job and return its answer: `submit`, then `result`."""
        timeout = checked_timeout(timeout)
        job_id, future = self.submit_with_future(request, **options)
        with about(job_id):
            return answer_of(wait(job_id, future, timeout))

    @overload
    def map(
        self,
        requests: Iterable[Answerable[KnownT]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Answer[KnownT] | ForebayError]: ...
    @overload
    def map(
        self,
        requests: Iterable[Answerable[Any]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Answer[AnyContent] | ForebayError]: ...
    def map(
        self,
        requests: Iterable[Answerable[Any]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Answer[Any] | ForebayError]:
        """Yield the answers in the order of the requests; a failed job yields its error.

        At most 2,000 jobs are under way at once, so that any number of requests fits in memory. If
        the iteration ends early (`break`, `close`, an error), the jobs of bare requests are
        cancelled, because nobody has their ids; each `Job` goes on. After a timeout all go on.

        Args:
            requests: requests or jobs; a generator will do.
            timeout: seconds to wait for the next answer.
            options: the same for all requests; no idempotency key, since a key is for one job.

        Raises:
            ResultTimeout: An answer did not come in time. `error.job_ids` are all jobs under way.
            InvalidJob, Unavailable: See `submit`.
        """
        return answers(self._window(requests, options), checked_timeout(timeout))

    def submit_future(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> Future[Result[ContentT]]:
        """Submit a job and return a future of its result.

        The future's result is an `Answer`, or the `Receipt` of a failure. Raises as `submit` does.
        """
        return self.submit_with_future(request, **options)[1]

    def submit_with_future(
        self, request: Answerable[ContentT], **options: Unpack[Options]
    ) -> Submitted[ContentT]:
        """Submit a job and return its id, as `submit` does, with a future of its result."""
        job = self.job(request, **options)
        with about(job.id):
            submitted = self._submit_all([job])[0]
            if isinstance(submitted, ForebayError):
                raise submitted
        return submitted

    @overload
    def future(self, job_id: JobHandle[KnownT]) -> Future[Result[KnownT]]: ...
    @overload
    def future(self, job_id: str) -> Future[Result]: ...
    def future(self, job_id: str) -> Future[Any]:
        """Return a future of a submitted job's result: an `Answer`, or the `Receipt` of a failure.

        Raises:
            UnknownJob: The tenant has no such job.
        """
        with self._access.to(job_id):
            return self._wakeups.watch(job_id)

    def job(self, request: Answerable[Any], **options: Unpack[Options]) -> Job:
        """Return the job that `submit` would put on."""
        return make_job(request, self.tenant, options)

    def status(self, job_id: str) -> JobStatus:
        """Return where the job is, and how many jobs are before it. Raises `UnknownJob`."""
        with self._access.to(job_id):
            return self._ledger.status(job_id)

    def explain(self, job_id: str) -> dict[str, Any]:
        """Return why a job went where it went, in any state, as one JSON document."""
        with self._access.to(job_id):
            record = self._ledger.record(job_id)
        audit = None
        if record.audited_as:
            with suppress(UnknownJob), self._access.to(record.audited_as):
                audit = self._ledger.record(record.audited_as)
        return explanation(record, audit)

    def cancel(self, job_id: str) -> bool:
        """End the job, wherever it is; return `False` if it had ended already."""
        with self._access.to(job_id):
            return self._ledger.cancel(job_id)

    def forget(self, job_id: str) -> bool:
        """Erase every trace of the job, ended or not; return `False` if there was none."""
        with self._access.to(job_id):
            return self._ledger.forget(job_id)

    def dead(self, limit: int = 100) -> list[DeadJob]:
        """Return the newest dead letters: jobs that failed and were not replayed yet."""
        self._access.check_open()
        return self._dead_letters.list(checked_limit(limit))

    def dead_job(self, job_id: str) -> DeadJob:
        """Return one dead job, replayed or not, without its content. See `DeadLetters.show`."""
        with self._access.to(job_id):
            return self._dead_letters.show(job_id)

    def dead_content(self, job_id: str) -> Job:
        """Return what a dead job asked, with its content. See `DeadLetters.job`."""
        with self._access.to(job_id):
            return self._dead_letters.job(job_id)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Submit a dead job again and return the new job's id. See `DeadLetters.replay`."""
        with self._access.to(job_id):
            return self._dead_letters.replay(job_id, **changes)

    def bury(self, job_id: str) -> bool:
        """Erase a dead job; return `False` if there was none. See `DeadLetters.bury`."""
        with self._access.to(job_id):
            return self._dead_letters.bury(job_id)

    def close(self) -> None:
        """End the thread that waits for answers, and close the connections of this client."""
        if self._access.closed:
            return
        self._access.closed = True
        self._wakeups.close()
        if self._owns_redis:
            self._ledger.redis.close()

    def __enter__(self) -> Self:
        self._access.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _window(self, requests: Iterable[Answerable[Any]], options: Options) -> Window[Any]:
        self._access.check_open()
        return Window.of(requests, self.tenant, options, self._submit_all, self.cancel)

    def _submit_all(self, jobs: list[Job]) -> list[Submitted[Any] | ForebayError]:
        for job in jobs:
            self._access.check(job)
        return submit_watched(jobs, self._submitter, self._wakeups)
