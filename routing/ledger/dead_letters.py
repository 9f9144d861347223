"""The dead: jobs that failed, kept with their reason and content until they are forgotten.

A dead job is replayed as a new one that is linked to it; then it is off the list. So the list is
what is left to do, and replaying all of it twice makes nothing twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack, cast

from pydantic import AwareDatetime

from forebay.routing.base import Egress, FrozenModel, JobId
from forebay.routing.errors import EgressDenied, ForebayError, InvalidJob, UnknownJob
from forebay.routing.jobs import Job, Pin, Priority, Receipt, new_id, parse_job
from forebay.routing.lanes import ROUTE
from forebay.routing.ledger.claim import opened
from forebay.routing.ledger.ledger import Ledger, refusal
from forebay.routing.ledger.record import Record
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import transition

MAX_REPLAYS_FOLLOWED = 100  # replays of replays that are followed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Changes(TypedDict, total=False):
    """What a replay may have otherwise than its dead job; egress only tighter."""

    egress: Egress
    lane: Pin
    priority: Priority
    deadline: datetime | None
    max_cost_usd: float | None


class DeadJob(FrozenModel):
    """A job that failed, without its content.

    Attributes:
        error: code of why.
        hop, queue, attempts: where it was last, and how often it was tried there.
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
        """A record of the ledger, as it is shown.

        Raises:
            InvalidJob: It is not dead, or somebody else wrote its record.
        """
        if record.state != "failed":
            raise InvalidJob(f"is not dead: {record.state}", field="id")
        try:
            return cls(
                id=record.id, error=record.error or "failed", hop=record.hop, queue=record.queue,
                attempts=record.attempts, created=_at(record.created), ended=_at(record.ended),
                replayed_as=record.replayed_as, receipt=record.to_receipt(),
            )  # fmt: skip
        except (ValueError, TypeError, OverflowError):
            raise InvalidJob("the stored record cannot be read") from None


class DeadLetters:
    """The dead jobs of a tenant. Safe to share between threads."""

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self.tenant = tenant
        self._ledger = ledger
        self._index = f"fb:dead:{tenant}"
        self._replay = ledger.redis.register_script(transition("replay"))
        self._forget = ledger.redis.register_script(transition("forget"))

    def list(self, limit: int = 100) -> list[DeadJob]:
        """Those not replayed yet, the newest first; one that cannot be read is left out."""
        with reaching_redis():
            ids: Any = self._ledger.redis.zrevrange(self._index, 0, max(0, limit - 1))
            with self._ledger.redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(f"fb:job:{job_id.decode()}")
                records = pipe.execute()
        found = (
            _dead(job_id.decode(), fields) for job_id, fields in zip(ids, records, strict=True)
        )
        return [one for one in found if one is not None]

    def show(self, job_id: str) -> DeadJob:
        """One of them.

        Raises:
            UnknownJob: There is no such job of this tenant.
            InvalidJob: It is not dead.
        """
        return DeadJob.of(self._ledger.record(self._own(job_id)))

    def job(self, job_id: str) -> Job:
        """What was asked: the job with its content, in which no policy has a say.

        Raises:
            UnknownJob: There is no such job of this tenant.
            InvalidJob: It is not dead, or its content is damaged.
            Unavailable: The content needs a key that this process has not.
        """
        self.show(job_id)
        with reaching_redis():
            sealed = cast("bytes | None", self._ledger.redis.get(f"fb:content:{job_id}"))
        return opened(job_id, sealed or b"", self._ledger.seal)

    def replay(self, job_id: str, **changes: Unpack[Changes]) -> str:
        """Begin a dead job again, as a new one. Asked for again, it is the same new one.

        A replay that has died as well is replayed in its place. The new job has the egress of the
        dead one's record, which a policy may have lowered, its cost cap and its priority; it has no
        idempotency key, which leads to the first job as long as that is known.

        Returns:
            The id of the new job.

        Raises:
            UnknownJob: There is no such job of this tenant.
            InvalidJob: It is not dead; a change is wrong; or its deadline has passed, and the
                changes neither drop it (`deadline=None`) nor give it a later one.
            EgressDenied: The change would let out what may not leave.
            Unavailable: Redis cannot be reached or takes no new jobs.
        """
        for _ in range(MAX_REPLAYS_FOLLOWED):
            new, state = self._replayed(job_id, changes)
            if state != "failed":
                return new
            job_id = new
        raise InvalidJob("was replayed too often", field="id")

    def bury(self, job_id: str) -> bool:
        """Leave nothing of a dead job. False when there was nothing.

        Raises:
            InvalidJob: It is not dead.
        """
        with reaching_redis():
            said = self._forget(args=[self._own(job_id), "failed"]).decode()
        if said not in {"forgotten", "unknown"}:
            raise InvalidJob(f"is not dead: {said}", field="id")
        return bool(said == "forgotten")

    def _own(self, job_id: str) -> str:
        if job_id.partition(".")[0] != self.tenant:
            raise UnknownJob("no such job of this tenant", field="id")
        return job_id

    def _replayed(self, job_id: str, changes: Changes) -> tuple[str, str]:
        """Id and state of the job that repeats this one."""
        job = self._again(job_id, changes)
        ledger = self._ledger
        content, fields = ledger.packed(job)
        limit = ledger.settings.max_waiting
        with reaching_redis():
            reply = self._replay(args=[job_id, job.id, ROUTE, ledger.bell, content, limit, *fields])
        return _made(*(part.decode() for part in reply))

    def _again(self, job_id: str, changes: Changes) -> Job:
        """The new job: as the old one was, with what its record says by now, and the changes."""
        old, egress = self.job(job_id), self._ledger.record(job_id).egress
        allowed = {"egress": "deny"} if "deny" in {old.egress, egress} else {}
        if allowed and changes.get("egress") == "allow":
            raise EgressDenied("the content of this job may not leave", field="egress")
        ours = {"id": new_id(self.tenant), "idempotency_key": None}
        return parse_job({**old.model_dump(by_alias=True), **allowed, **changes, **ours})


def _dead(job_id: str, fields: dict[bytes, bytes]) -> DeadJob | None:
    try:
        return DeadJob.of(Record.read(job_id, fields))
    except ForebayError:
        return None


def _made(verb: str, *details: str) -> tuple[str, str]:
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


def _at(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms)
