"""Putting jobs on, and getting their answers: the Python interface of Forebay.

from forebay.producers.client import Client
from forebay.routing.jobs import Summarize

with Client(tenant="support") as forebay:
    answer = forebay.run(Summarize(text=ticket, max_words=30))
    print(answer.content.text, answer.lane, answer.cost_usd)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import redis

from forebay.producers.explain import explained
from forebay.producers.submission import PatientSubmitter
from forebay.producers.wakeups import Result, Wakeups
from forebay.routing.base import Egress
from forebay.routing.errors import ForebayError, InvalidJob, UnknownJob, from_code, gist
from forebay.routing.jobs import Answer, Job, JobStatus, Pin, Priority, Receipt, Request, owner
from forebay.routing.ledger.dead_letters import Changes, DeadJob, DeadLetters
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.settings import Settings, read_settings
from forebay.routing.store.connection import connect

CHUNK = 250  # jobs submitted in one round trip by `map`
WINDOW = 2_000  # jobs that `map` has under way at once

Begun = tuple[str, Future[Result]]  # a job's id, and what it will end with


class Options(TypedDict, total=False):
    """What may be said of a job beside its request; see `forebay.routing.jobs.Job`."""

    egress: Egress
    lane: Pin
    priority: Priority
    deadline: datetime | timedelta | None
    max_cost_usd: float | None
    idempotency_key: str | None
    cache: bool
    metadata: dict[str, str]


class Client:
    """A tenant's way to Forebay. Safe to share between threads; close it, or use it in a `with`.

    Every method raises only errors of `forebay.routing.errors`, and `TimeoutError` where one waits.

    Args:
        tenant: whose jobs these are.
        settings: where Redis is; from the environment where left out.
        redis: a client of one's own, in place of the one that the settings make.
        patience: seconds that `submit`, `begin`, `run` and `map` wait, at each submit, for a Redis
            that is away, full or has too many jobs waiting; by default such a submit fails at once.
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
        client = redis or connect(settings)
        self._lent = redis is not None
        self._ledger = Ledger(client, settings, lambda: _bell(settings))
        self._door = PatientSubmitter(self._ledger, patience)
        self._dead = DeadLetters(self._ledger, tenant)
        self._wakeups = Wakeups(self._ledger, tenant)

    def submit(self, request: Request | Job, **options: Unpack[Options]) -> str:
        """Put a job on. When this returns, the job is safe.

        Returns:
            The job's id, or the first one's where the idempotency key was used before.

        Raises:
            InvalidJob: A field is wrong, or the idempotency key was used for another job.
            EgressDenied: The job is pinned to Bedrock and may not leave.
            Unavailable: Redis cannot be reached or is full, and remained so for our patience.
                Submitting the same `Job` again (with its id), or under the same idempotency key,
                can never make two.
        """
        job = self._ours(self.job(request, **options))
        made = self._door.create([job])[0]
        if isinstance(made, ForebayError):
            raise made
        return made

    def result(self, job_id: str, timeout: float | None = None) -> Answer:
        """The answer, waited for without polling for at most `timeout` seconds.

        Raises:
            TimeoutError: It has not ended by then; it goes on, and can be asked for again by the
                id that the message names.
            UnknownJob: No such job of this tenant.
            ForebayError: The job ended without an answer; its class and `code` say why.
        """
        return answer_of(self._awaited(job_id, self.future(job_id), timeout))

    def run(
        self, request: Request | Job, timeout: float | None = None, **options: Unpack[Options]
    ) -> Answer:
        """Submit, and wait for the answer."""
        return answer_of(self._awaited(*self.begun(request, **options), timeout))

    def map(
        self,
        requests: Iterable[Request | Job],
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Answer | ForebayError]:
        """The answers in the order of the requests; a job that failed gives its error.

        Requests are taken as they are needed: a few thousand are under way at once.

        Args:
            requests: any number of them.
            timeout: seconds to wait for the next answer.
            options: the same for all.
        """
        left = iter(requests)
        under_way: deque[Begun | ForebayError] = deque()
        while True:
            while len(under_way) <= WINDOW - CHUNK:
                chunk = [self.job(request, **options) for request in islice(left, CHUNK)]
                if not chunk:
                    break
                under_way.extend(self._begin(chunk))
            if not under_way:
                return
            yield self._value(under_way.popleft(), timeout)

    def status(self, job_id: str) -> JobStatus:
        """Where the job is, and how many are before it."""
        return self._ledger.status(self._own(job_id))

    def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job went where it went, in any state; see `forebay.producers.explain`."""
        record = self._ledger.record(self._own(job_id))
        audit = None
        if record.audited_as:
            with suppress(UnknownJob):
                audit = self._ledger.record(self._own(record.audited_as))
        return explained(record, audit)

    def cancel(self, job_id: str) -> bool:
        """End the job wherever it is; false when it had ended already."""
        return self._ledger.cancel(self._own(job_id))

    def forget(self, job_id: str) -> bool:
        """Leave nothing of the job, ended or not; false when there was nothing."""
        return self._ledger.forget(self._own(job_id))

    def dead(self, limit: int = 100) -> list[DeadJob]:
        """The newest of the jobs that failed and were not replayed yet."""
        return self._dead.list(limit)

    def dead_job(self, job_id: str) -> DeadJob:
        """One of them; also one that was replayed. See `DeadLetters.show`."""
        return self._dead.show(job_id)

    def dead_content(self, job_id: str) -> Job:
        """What was asked of one of them. See `DeadLetters.job`."""
        return self._dead.job(job_id)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Begin a dead job again; the id of the new one. See `DeadLetters.replay`."""
        return self._dead.replay(job_id, **changes)

    def bury(self, job_id: str) -> bool:
        """Leave nothing of a dead job; false when there was nothing. See `DeadLetters.bury`."""
        return self._dead.bury(job_id)

    def job(self, request: Request | Job, **options: Unpack[Options]) -> Job:
        """The job that `submit` would put on: a request with its options, or a job as it is."""
        if isinstance(request, Job):
            return request
        given: dict[str, Any] = {**options}
        if isinstance(given.get("deadline"), timedelta):
            given["deadline"] = datetime.now(UTC) + given["deadline"]
        return Job.model_validate({"tenant": self.tenant, "request": request, **given})

    def begin(self, request: Request | Job, **options: Unpack[Options]) -> Future[Result]:
        """Submit; a future of the outcome, an `Answer` or the `Receipt` of a failure."""
        return self.begun(request, **options)[1]

    def begun(self, request: Request | Job, **options: Unpack[Options]) -> Begun:
        """The same, with the job's id: the first one's, where the idempotency key was used."""
        begun = self._begin([self.job(request, **options)])[0]
        if isinstance(begun, ForebayError):
            raise begun
        return begun

    def future(self, job_id: str) -> Future[Result]:
        """A future of a job's outcome, an `Answer` or the `Receipt` of a failure."""
        future = self._wakeups.expect(self._own(job_id))
        if self._ledger.watch(job_id, self._wakeups.stream) in ENDED:
            self._wakeups.fulfil([job_id])
        return future

    def close(self) -> None:
        """End the thread that waits, and the connections that are ours."""
        self._wakeups.close()
        if not self._lent:
            self._ledger.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _ours(self, job: Job) -> Job:
        if job.tenant != self.tenant:
            raise InvalidJob("is not the one of this client", field="tenant")
        return job

    def _own(self, job_id: str) -> str:
        if owner(job_id) != self.tenant:
            raise UnknownJob("no such job of this tenant", field="id")
        return job_id

    def _begin(self, jobs: list[Job]) -> list[Begun | ForebayError]:
        for job in jobs:
            self._ours(job)
        with self._wakeups.creating([job.id for job in jobs]) as futures:
            created = self._door.create(jobs, self._wakeups.stream)
        return [
            self._begun(job.id, made, futures[job.id])
            for job, made in zip(jobs, created, strict=True)
        ]

    def _begun(
        self, job_id: str, made: str | ForebayError, future: Future[Result]
    ) -> Begun | ForebayError:
        if made == job_id:
            return job_id, future
        self._wakeups.give_up(job_id, future)
        return made if isinstance(made, ForebayError) else (made, self.future(made))

    def _awaited(self, job_id: str, future: Future[Result], timeout: float | None) -> Result:
        try:
            return future.result(timeout)
        except TimeoutError:
            self._wakeups.give_up(job_id, future)
            raise late(job_id) from None

    def _value(self, begun: Begun | ForebayError, timeout: float | None) -> Answer | ForebayError:
        if isinstance(begun, ForebayError):
            return begun
        outcome = self._awaited(*begun, timeout)
        return outcome if isinstance(outcome, Answer) else failure(outcome)


def _bell(settings: Settings) -> str:
    """The doorbell. Celery takes half a second to load, and who only asks does not need it."""
    from forebay.routing.broker.app import celery_app  # noqa: PLC0415
    from forebay.routing.broker.doorbell import template  # noqa: PLC0415

    return template(celery_app(settings))


def answer_of(outcome: Result) -> Answer:
    """The answer, or its error raised."""
    if isinstance(outcome, Answer):
        return outcome
    raise failure(outcome)


def late(job_id: str) -> TimeoutError:
    """Nobody waits for a job any longer. Its id is all that leads back to it."""
    return TimeoutError(f"job {job_id} has not ended yet; it goes on, and `result` can ask again")


def failure(receipt: Receipt) -> ForebayError:
    """The error that the receipt of a job without an answer stands for."""
    code = receipt.error or receipt.status
    said = ": ".join(filter(None, (f"job {receipt.id} {receipt.status}", gist(code))))
    return from_code(code, said, receipt.error_field)
