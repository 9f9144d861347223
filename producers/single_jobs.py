"""The part of a client that submits a job and waits for its answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Unpack, overload

from typing_extensions import TypeVar

from forebay.producers.access import JobAccess
from forebay.producers.arguments import checked_timeout
from forebay.producers.handles import JobHandle
from forebay.producers.options import Options, make_job
from forebay.producers.results import Result, Submitted, about, answer_of, wait
from forebay.producers.submission import Submitter, Ties
from forebay.producers.wakeups import Wakeups
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Answerable, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.receipts import AnyContent

#: A content that is known to be one of ours, so that the overloads of `result` agree.
KnownT = TypeVar("KnownT", bound=AnyContent)
ContentT = TypeVar("ContentT", default=AnyContent)


class SingleJobs(JobAccess):
    """Submits jobs one by one. See `forebay.producers.client.Client`."""

    def __init__(self, tenant: str, ledger: Ledger, patience: float) -> None:
        super().__init__(tenant, ledger)
        self._wakeups = Wakeups(ledger, tenant)
        self._submitter = Submitter(self._access, ledger, self._wakeups, patience)
        self._ties = Ties(self._submitter)

    def submit(
        self,
        request: Answerable[ContentT],
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> JobHandle[ContentT]:
        """Submit a job. When this returns, the job is stored and will not be lost.

        Args:
            request: a request (`Classify`, `Extract`, ...), or a whole `Job`.
            cancel_on_exit: cancel the job if the client is closed before it ends, or if a `result`
                that waits for it is interrupted (not if it takes too long).
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
        if cancel_on_exit:
            return self._begin(job, tied=True)[0]
        return self._submitter.submit(job)

    @overload
    def result(
        self,
        job_id: JobHandle[KnownT],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
    ) -> Answer[KnownT]: ...
    @overload
    def result(
        self, job_id: str, timeout: float | None = None, *, cancel_on_exit: bool = False
    ) -> Answer: ...
    def result(
        self, job_id: str, timeout: float | None = None, *, cancel_on_exit: bool = False
    ) -> Answer[Any]:
        """Return the answer of a job; wait for it at most `timeout` seconds, without polling.

        Args:
            job_id: what `submit` returned. An id that was stored meanwhile gives the same answer,
                with a dictionary in place of the pydantic model that `Extract` was given.
            timeout: seconds; `None` waits as long as it takes.
            cancel_on_exit: cancel the job if the wait ends without its result.

        Raises:
            ResultTimeout: The job has not ended by then. It goes on; `error.job_id` is its id.
            UnknownJob: The tenant has no such job.
            BadAnswer: No answer passed its checks, or the model that `Extract` was given refuses
                the object.
            ForebayError: The job ended without an answer; the error's class and `code` say why.
        """
        timeout = checked_timeout(timeout)
        with self._access.to(job_id), self._ties.waiting(job_id, tied=cancel_on_exit):
            result = wait(job_id, self.future(job_id), timeout, tied=cancel_on_exit)
        return answer_of(result)

    def run(
        self,
        request: Answerable[ContentT],
        timeout: float | None = None,
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Answer[ContentT]:
        """Submit a job and return its answer: `submit`, then `result`."""
        timeout = checked_timeout(timeout)
        job = self.job(request, **options)
        handle, future = self._begin(job, tied=cancel_on_exit)
        # A job that was there before, under the same idempotency key, is another caller's.
        tied = cancel_on_exit and handle == job.id
        with about(handle), self._ties.waiting(handle, tied=tied):
            result = wait(handle, future, timeout, tied=tied)
        return answer_of(result)

    def submit_future(
        self,
        request: Answerable[ContentT],
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Future[Result[ContentT]]:
        """Submit a job and return a future of its result.

        The future's result is an `Answer`, or the `Receipt` of a failure. Raises as `submit` does.
        """
        return self.submit_with_future(request, cancel_on_exit=cancel_on_exit, **options)[1]

    def submit_with_future(
        self,
        request: Answerable[ContentT],
        *,
        cancel_on_exit: bool = False,
        **options: Unpack[Options],
    ) -> Submitted[ContentT]:
        """Submit a job and return its id, as `submit` does, with a future of its result."""
        return self._begin(self.job(request, **options), tied=cancel_on_exit)

    def submit_with_futures(self, jobs: Sequence[Job]) -> list[Submitted[Any] | ForebayError]:
        """Submit jobs in one round trip; return each one's id and future as `submit_with_future`.

        In place of a job that is refused stands its error.

        Raises:
            Unavailable: Redis cannot be reached; it is safe to submit the same jobs again.
        """
        for job in jobs:
            self._access.check(job)
        return self._submitter.begin_all(jobs)

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

    def _begin(self, job: Job, *, tied: bool) -> Submitted[Any]:
        """Submit a job; tied, it ends with its caller, also if the submit itself is interrupted."""
        with self._ties.waiting(job.id, tied=tied):
            handle, future = self._submitter.begin(job)
        if tied and handle == job.id:
            self._ties.tie(handle, future)
        return handle, future
