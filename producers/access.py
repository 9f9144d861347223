"""The limits of a client: jobs of its own tenant, as long as it is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from forebay.producers.results import about
from forebay.routing.errors import InvalidJob, Unavailable, UnknownJob
from forebay.routing.jobs import Job, owner


class Access:
    """The door of a client. Every method of the client passes it before it talks to Redis.

    Attributes:
        tenant: the tenant whose jobs the client may see.
        closed: the client was closed, so that nothing may be asked any more.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.closed = False

    def check_open(self) -> None:
        """Raise `Unavailable` if the client was closed."""
        if self.closed:
            raise Unavailable("the client is closed")

    def check(self, job: Job) -> None:
        """Refuse a job that this client may not submit.

        Raises:
            Unavailable: The client was closed.
            InvalidJob: The job is another tenant's.
        """
        self.check_open()
        with about(job.id):
            if job.tenant != self.tenant:
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
