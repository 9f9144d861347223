"""The client: submit jobs, and get their answers.

from forebay import Client, Summarize

with Client(tenant="support") as client:
answer = client.run(Summarize(text=ticket, max_words=30))
print(answer.content.text, answer.lane, answer.cost_usd)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import redis

from forebay.producers.explain import explanation
from forebay.producers.handles import JobHandle, answer_model_of
from forebay.producers.options import Options, make_job
from forebay.producers.results import Result, answer_of, failure, wait
from forebay.producers.submission import PatientSubmitter, doorbell
from forebay.producers.wakeups import Wakeups
from forebay.routing.errors import ForebayError, InvalidJob, UnknownJob
from forebay.routing.jobs import Answer, Answerable, Content, Job, JobStatus, owner
from forebay.routing.ledger.dead_letters import Changes, DeadJob, DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.receipts import AnyContent
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect

JOBS_PER_ROUND_TRIP = 250  # jobs that `map` submits at once
MAX_JOBS_UNDER_WAY = 2_000  # jobs that `map` has submitted and not yet yielded

ContentT = TypeVar("ContentT")
#: A content that is known to be one of ours, so that the overloads of `result` agree.
KnownT = TypeVar("KnownT", bound=AnyContent)
Submitted = tuple[JobHandle[ContentT], Future[Result[ContentT]]]


class Client:
    """A tenant's access to Forebay. Safe to share between threads.

    Close it, or use it in a `with` statement. It connects to Redis at its first call. Methods raise
    only errors of `forebay.routing.errors`, and `TimeoutError` if they wait.

    Args:
        tenant: the owner of the jobs. A client sees the jobs of its tenant only.
        settings: where Redis is; by default from the environment (`FOREBAY_REDIS_URL`, ...).
        redis: a Redis client to use instead of a new one; it is not closed.
        patience: seconds that a submit (also in `run` and `map`) keeps trying while Redis is away,
            full, or has too many jobs waiting. By default such a submit fails at once.

    Raises:
        Misconfigured: A setting is wrong; the error names the variable.
    """

    def __init__(
        self,
        *,
        tenant: str = "default",
        settings: Settings | None = None,
        redis: redis.Redis | None = None,
        patience: float = 0.0,
    ) -> None:
        settings = settings or read_settings()
        self.tenant = tenant
        self._owns_redis = redis is None
        self._ledger = Ledger(redis or connect(settings), settings, lambda: doorbell(settings))
        self._submitter = PatientSubmitter(self._ledger, patience)
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
            InvalidJob: A field is wrong, or the idempotency key was used for another job.
            EgressDenied: The job is pinned to Bedrock and may not leave the building.
            Unavailable: Redis cannot be reached or is full, and stayed so for `patience` seconds.
                It is safe to submit the same `Job` again, or a request under the same idempotency
                key: there will be one job.
        """
        job = self._check_tenant(self.job(request, **options))
        created = self._submitter.create([job])[0]
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
            TimeoutError: The job has not ended by then. It goes on; its id is in the message.
            UnknownJob: The tenant has no such job.
            BadAnswer: No answer passed its checks, or the model that `Extract` was given refuses
                the object.
            ForebayError: The job ended without an answer; the error's class and `code` say why.
        """
        return answer_of(wait(job_id, self.future(job_id), timeout))

    def run(
        self,
        request: Answerable[ContentT],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Answer[ContentT]:
        """Submit a job and return its answer: `submit`, then `result`."""
        job_id, future = self.submit_with_future(request, **options)
        return answer_of(wait(job_id, future, timeout))

    def map(
        self,
        requests: Iterable[Answerable[ContentT]],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Answer[ContentT] | ForebayError]:
        """Yield the answers in the order of the requests; a failed job yields its error.

        At most 2,000 jobs are under way at once: requests are taken as answers are, so that any
        number of them fits in memory.

        Args:
            requests: requests or jobs; a generator will do.
            timeout: seconds to wait for the next answer.
            options: the same for all requests.

        Raises:
            TimeoutError, InvalidJob, Unavailable: See `result` and `submit`.
        """
        remaining = iter(requests)
        under_way: deque[Submitted[ContentT] | ForebayError] = deque()
        while True:
            while len(under_way) <= MAX_JOBS_UNDER_WAY - JOBS_PER_ROUND_TRIP:
                jobs = [self.job(one, **options) for one in islice(remaining, JOBS_PER_ROUND_TRIP)]
                if not jobs:
                    break
                under_way.extend(self._submit_all(jobs))
            if not under_way:
                return
            yield self._answer_or_error(under_way.popleft(), timeout)

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
        submitted = self._submit_all([self.job(request, **options)])[0]
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
        future = self._wakeups.expect(self._check_owner(job_id), answer_model_of(job_id))
        if self._ledger.watch(job_id, self._wakeups.stream) in ENDED:
            self._wakeups.fulfil([job_id])
        return future

    def job(self, request: Answerable[Any], **options: Unpack[Options]) -> Job:
        """Return the job that `submit` would put on."""
        return make_job(request, self.tenant, options)

    def status(self, job_id: str) -> JobStatus:
        """Return where the job is, and how many jobs are before it. Raises `UnknownJob`."""
        return self._ledger.status(self._check_owner(job_id))

    def explain(self, job_id: str) -> dict[str, Any]:
        """Return why a job went where it went, in any state, as one JSON document."""
        record = self._ledger.record(self._check_owner(job_id))
        audit = None
        if record.audited_as:
            with suppress(UnknownJob):
                audit = self._ledger.record(self._check_owner(record.audited_as))
        return explanation(record, audit)

    def cancel(self, job_id: str) -> bool:
        """End the job, wherever it is; return `False` if it had ended already."""
        return self._ledger.cancel(self._check_owner(job_id))

    def forget(self, job_id: str) -> bool:
        """Erase every trace of the job, ended or not; return `False` if there was none."""
        return self._ledger.forget(self._check_owner(job_id))

    def dead(self, limit: int = 100) -> list[DeadJob]:
        """Return the newest dead letters: jobs that failed and were not replayed yet."""
        return self._dead_letters.list(limit)

    def dead_job(self, job_id: str) -> DeadJob:
        """Return one dead job, replayed or not, without its content. See `DeadLetters.show`."""
        return self._dead_letters.show(job_id)

    def dead_content(self, job_id: str) -> Job:
        """Return what a dead job asked, with its content. See `DeadLetters.job`."""
        return self._dead_letters.job(job_id)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Submit a dead job again and return the new job's id. See `DeadLetters.replay`."""
        return self._dead_letters.replay(job_id, **changes)

    def bury(self, job_id: str) -> bool:
        """Erase a dead job; return `False` if there was none. See `DeadLetters.bury`."""
        return self._dead_letters.bury(job_id)

    def close(self) -> None:
        """End the thread that waits for answers, and close the connections of this client."""
        self._wakeups.close()
        if self._owns_redis:
            self._ledger.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_tenant(self, job: Job) -> Job:
        if job.tenant != self.tenant:
            raise InvalidJob(f"must be {self.tenant}, the tenant of this client", field="tenant")
        return job

    def _check_owner(self, job_id: str) -> str:
        if owner(job_id) != self.tenant:
            raise UnknownJob("no such job of this tenant", field="id")
        return job_id

    def _submit_all(self, jobs: list[Job]) -> list[Submitted[Any] | ForebayError]:
        for job in jobs:
            self._check_tenant(job)
        with self._wakeups.creating(jobs) as futures:
            created = self._submitter.create(jobs, self._wakeups.stream)
        return [
            self._submitted(job, reply, futures[job.id])
            for job, reply in zip(jobs, created, strict=True)
        ]

    def _submitted(
        self, job: Job, reply: str | ForebayError, future: Future[Result]
    ) -> Submitted[Content] | ForebayError:
        """Return the id and future of a job that was submitted, or the error that refused it."""
        if isinstance(reply, ForebayError):
            future.cancel()
            return reply
        handle: JobHandle[Content] = JobHandle(reply, answer_model_of(job))
        if reply != job.id:  # the first job under the idempotency key
            future.cancel()
            future = self.future(handle)
        return handle, future

    def _answer_or_error(
        self, submitted: Submitted[ContentT] | ForebayError, timeout: float | None
    ) -> Answer[ContentT] | ForebayError:
        if isinstance(submitted, ForebayError):
            return submitted
        result = wait(*submitted, timeout)
        return result if isinstance(result, Answer) else failure(result)
