"""Dead letters: jobs that failed, kept with their reason and content until they are forgotten.

A dead job is replayed as a new job that is linked to it, and then leaves the list. So the list
holds what is left to do, and replaying all of it twice creates nothing twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

from pydantic import AwareDatetime

from forebay.routing.base import Egress, FrozenModel, JobId
from forebay.routing.errors import EgressDenied, ForebayError, InvalidJob, UnknownJob
from forebay.routing.jobs import Job, Pin, Priority, Receipt, new_id, parse_job
from forebay.routing.lanes import ROUTE
from forebay.routing.ledger.admission import refusal
from forebay.routing.ledger.claim import open_job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import Record, Stored, stored
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import reaching_redis, text_of

MAX_SEALED_BYTES = 96 * 1024 * 1024  # of a request, as `prelude.lua` bounds all contents
MAX_REPLAYS_FOLLOWED = 100  # from a dead job to its replay, to the replay of that, and so on
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Changes(TypedDict, total=False):
    """Fields in which a replay may differ from its dead job. Egress can only be tightened."""

    egress: Egress
    lane: Pin
    priority: Priority
    deadline: datetime | None
    max_cost_usd: float | None


class DeadJob(FrozenModel):
    """A job that failed, without its content.

    Attributes:
        error: code of the failure.
        hop, queue: where the job was last.
        attempts: how often it was tried there.
        replayed_as: the newest job that repeats it.
    """

    id: JobId
    error: str
    hop: str
    queue: str
    attempts: int
    created: AwareDatetime
    ended: AwareDatetime
    replayed_as: JobId | None = None
    receipt: Receipt

    @classmethod
    def of(cls, record: Record) -> DeadJob:
        """Make a dead job from its record in the ledger.

        Raises:
            InvalidJob: The job is not dead, or its record is damaged.
        """
        if record.state != "failed":
            raise InvalidJob(f"is not dead: {record.state}", field="id")
        try:
            return cls(
                id=record.id, error=record.error or "failed", hop=record.hop, queue=record.queue,
                attempts=record.attempts, created=_datetime(record.created),
                ended=_datetime(record.ended), replayed_as=record.replayed_as,
                receipt=record.to_receipt(),
            )  # fmt: skip
        except (ValueError, TypeError, OverflowError):
            raise InvalidJob("the stored record cannot be read") from None


class DeadLetters:
    """The dead jobs of a tenant. Safe to share between threads."""

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self.tenant = tenant
        self._ledger = ledger
        self._index = f"fb:dead:{tenant}"
        self._transitions = Transitions(ledger.redis)

    def list(self, limit: int = 100) -> list[DeadJob]:
        """Return the jobs that were not replayed yet, the newest first.

        Jobs whose record cannot be read are left out.
        """
        with reaching_redis():
            found: Any = self._ledger.redis.zrevrange(self._index, 0, max(0, limit - 1))
        ids = list(map(text_of, found))
        jobs = map(_dead, ids, stored(self._transitions, ids))
        return [job for job in jobs if job is not None]

    def show(self, job_id: str) -> DeadJob:
        """Return a dead job.

        Raises:
            UnknownJob: The tenant has no such job.
            InvalidJob: The job is not dead.
        """
        return DeadJob.of(self._ledger.record(self._own(job_id)))

    def job(self, job_id: str) -> Job:
        """Return a dead job with its content, as it was submitted; no policy is applied.

        Raises:
            UnknownJob: The tenant has no such job.
            InvalidJob: The job is not dead, is a shard of a bulk, or its content is damaged.
            Unavailable: This process lacks the key of the content.
        """
        self.show(job_id)
        if self._ledger.record(job_id).rows:
            hint = "is a shard of a bulk; `forebay bulk retry` answers its rows again"
            raise InvalidJob(hint, field="id")
        with reaching_redis():
            # Cut off if it is longer than any: then it is damaged.
            sealed: Any = self._ledger.redis.getrange(f"fb:content:{job_id}", 0, MAX_SEALED_BYTES)
        return open_job(job_id, sealed or b"", self._ledger.seal)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Repeat a dead job as a new job, and return the new id. A second call returns the same id.

        If the replay has died as well, it is replayed in its place. The new job takes over the
        terms of the dead job, and the egress of its record, which a policy may have set to `deny`.
        It has no idempotency key, because the key leads to the dead job.

        Raises:
            UnknownJob: The tenant has no such job.
            InvalidJob: The job is not dead, a change is wrong, or the deadline has passed and the
                changes neither drop it (`deadline=None`) nor give a later one.
            EgressDenied: The change would let out content that may not leave.
            Unavailable: Redis cannot be reached or accepts no new jobs.
        """
        for _ in range(MAX_REPLAYS_FOLLOWED):
            new_job_id, state = self._replay_once(job_id, changes)
            if state != "failed":
                return new_job_id
            job_id = new_job_id
        raise InvalidJob("was replayed too often", field="id")

    def bury(self, job_id: str) -> bool:
        """Remove all that is stored of a dead job. Return false if there was nothing.

        Raises:
            UnknownJob: The job is another tenant's.
            InvalidJob: The job is not dead.
        """
        reply = self._transitions.run("forget", self._own(job_id), "failed").decode()
        if reply not in {"forgotten", "unknown"}:
            raise InvalidJob(f"is not dead: {reply}", field="id")
        return bool(reply == "forgotten")

    def _own(self, job_id: str) -> str:
        if job_id.partition(".")[0] != self.tenant:
            raise UnknownJob("no such job of this tenant", field="id")
        return job_id

    def _replay_once(self, job_id: str, changes: Changes) -> tuple[str, str]:
        """Return the id and the state of the job that repeats this job."""
        job = self._new_job(job_id, changes)
        ledger = self._ledger
        content, fields = ledger.packed(job)
        limit = ledger.settings.max_waiting
        reply = self._transitions.run(
            "replay", job_id, job.id, ROUTE, ledger.bell, content, limit, *fields
        )
        return _replayed(*(part.decode() for part in reply))

    def _new_job(self, job_id: str, changes: Changes) -> Job:
        """Return the job to submit: the dead job, the egress of its record, and the changes."""
        old, egress = self.job(job_id), self._ledger.record(job_id).egress
        denied = {"egress": "deny"} if "deny" in {old.egress, egress} else {}
        if denied and changes.get("egress") == "allow":
            raise EgressDenied("the content of this job may not leave", field="egress")
        fresh = {"id": new_id(self.tenant), "idempotency_key": None}
        return parse_job({**old.model_dump(by_alias=True), **denied, **changes, **fresh})


def _dead(job_id: str, found: Stored) -> DeadJob | None:
    try:
        return DeadJob.of(Record.read(job_id, found.fields))
    except ForebayError:
        return None


def _replayed(verb: str, *details: str) -> tuple[str, str]:
    """Return the id and the state of the replay from the script's reply, or raise its refusal."""
    match verb, details:
        case "created", (new,):
            return new, "waiting"
        case "replayed", (new, state):
            return new, state
        case "alive", (state,):
            raise InvalidJob(f"is not dead: {state}", field="id")
        case "past", _:
            raise InvalidJob("has passed; drop it, or give a later one", field="deadline")
        case "egress_denied", _:
            raise EgressDenied("the content of this job may not leave", field="egress")
        case _, (detail,):
            raise refusal(verb, detail) or UnknownJob("no such job", field="id")
    raise UnknownJob("no such job", field="id")


def _datetime(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms)
