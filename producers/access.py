"""What a client checks before each call: that it is open, and that the job is its tenant's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Unpack

from forebay.producers.arguments import checked_limit
from forebay.producers.results import about
from forebay.routing.errors import InvalidJob, Unavailable, UnknownJob
from forebay.routing.jobs import Job, JobStatus, owner
from forebay.routing.ledger.dead_letters import Changes, DeadJob, DeadLetters
from forebay.routing.ledger.ledger import Ledger


class Access:
    """Checks each call of a client, before the client talks to Redis.

    Attributes:
        tenant: the tenant whose jobs the client may see.
        closing: the client is being closed, so that nothing may be asked any more.
        closed: what ends with the client is cancelled.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.closing = self.closed = False

    def check_open(self) -> None:
        """Raise `Unavailable` if the client was closed."""
        if self.closing:
            raise Unavailable("the client is closed")

    def check(self, job: Job) -> None:
        """Refuse a job that this client may not submit.

        Raises:
            Unavailable: The client was closed.
            InvalidJob: The job is another tenant's.
        """
        self.check_open()
        if job.tenant != self.tenant:
            with about(job.id):
                raise InvalidJob(
                    f"must be {self.tenant}, the tenant of this client", field="tenant"
                )

    @contextmanager
    def to(self, job_id: str) -> Iterator[None]:
        """Ask about a job of this tenant in this block. Errors of the block name the job.

        Raises:
            Unavailable: The client was closed.
            UnknownJob: The value is no job id, or the job is another tenant's.
        """
        self.check_open()
        with about(job_id):
            tenant = owner(job_id)
            if tenant is None:
                raise UnknownJob("is not a job id, `submit` returns one", field="id")
            if tenant != self.tenant:
                raise UnknownJob("no such job of this tenant", field="id")
            yield


class JobAccess:
    """The part of a client that asks about jobs which were submitted, and ends them."""

    def __init__(self, tenant: str, ledger: Ledger) -> None:
        self.tenant = tenant
        self._access = Access(tenant)
        self._ledger = ledger

    def status(self, job_id: str) -> JobStatus:
        """Return where the job is, and how many jobs are before it. Raises `UnknownJob`."""
        with self._access.to(job_id):
            return self._ledger.status(job_id)

    def explain(self, job_id: str) -> dict[str, Any]:
        """Return why a job went where it went, in any state, as one JSON document."""
        from forebay.producers.explain import explanation  # noqa: PLC0415 - rarely needed

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
        limit = checked_limit(limit)
        each = [DeadLetters(place, self.tenant).list(limit) for place in self._ledger.places()]
        return sorted(chain(*each), key=lambda job: job.ended, reverse=True)[:limit]

    def dead_job(self, job_id: str) -> DeadJob:
        """Return one dead job, replayed or not, without its content. See `DeadLetters.show`."""
        with self._access.to(job_id):
            return self._dead_letters(job_id).show(job_id)

    def dead_content(self, job_id: str) -> Job:
        """Return what a dead job asked, with its content. See `DeadLetters.job`."""
        with self._access.to(job_id):
            return self._dead_letters(job_id).job(job_id)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Submit a dead job again and return the new job's id. See `DeadLetters.replay`."""
        with self._access.to(job_id):
            return self._dead_letters(job_id).replay(job_id, **changes)

    def bury(self, job_id: str) -> bool:
        """Erase a dead job; return `False` if there was none. See `DeadLetters.bury`."""
        with self._access.to(job_id):
            return self._dead_letters(job_id).bury(job_id)

    def _dead_letters(self, job_id: str) -> DeadLetters:
        return DeadLetters(self._ledger.place_of(job_id), self.tenant)
