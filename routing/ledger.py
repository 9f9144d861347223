"""The ledger: the durable record of every job, and who waits for what. The truth.

Duties:
1. `create` a job with its doorbell, in one step, and know a repeated idempotency key.
2. `claim` the best job waiting in a queue, under a lease and a fencing token.
3. Move it: `route`, `escalate`, `retry`; hold it: `renew`.
4. End it exactly once: `settle`, `cancel`, `forget`; wake whoever waits for that.
5. `sweep`: give back what its worker no longer holds, and ring for what nobody was told of.

Every transition is one Lua script (`routing/transitions/`) on Redis' own clock. A job can be worked
twice, when a worker was thought dead and was not; it is settled once, by whoever holds the token.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import redis
from redis.commands.core import Script

from routing.connection import reaching_redis
from routing.content import PLAIN, Seal
from routing.errors import (
    CallerError,
    EgressDenied,
    ForebayError,
    InvalidJob,
    Misconfigured,
    Unavailable,
    UnknownJob,
)
from routing.jobs import Answer, Job, JobStatus, Receipt, Verdict, parse_job
from routing.lanes import ROUTE, hop_of
from routing.record import ENDED, Record, decoded, envelope, pairs
from routing.scripts import transition
from routing.settings import Settings

TRANSITIONS = (
    "create", "claim", "renew", "route", "escalate", "settle", "retry", "cancel", "forget",
    "watch", "position", "sweep",
)  # fmt: skip


_log = logging.getLogger(__name__)


class Lost(Exception):  # a signal, not an error
    """This claim no longer holds the job: it ended, or another worker has it. Drop the work."""


class Swept(NamedTuple):
    """What one sweep did, in jobs; `rung` in doorbells."""

    back: int
    dead: int
    due: int
    expired: int
    rung: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a job. `token` fences it: a write with an old token changes nothing."""

    id: str
    token: str
    record: Record
    sealed: bytes = field(repr=False)
    draft: bytes = field(repr=False)
    seal: Seal = field(default=PLAIN, repr=False)

    def job(self) -> Job:
        """The job, from its content. Its egress is the record's, which may have been lowered.

        Raises:
            InvalidJob: The content is missing, damaged, or another job's.
            Unavailable: This worker has no key for it; another one may have.
        """
        try:
            job = parse_job(self._open(self.sealed))
        except (ValueError, CallerError):
            raise InvalidJob("the stored content cannot be read") from None
        if job.id != self.id:
            raise InvalidJob("the stored content is another job's")
        if self.record.egress == "deny":
            return job.model_copy(update={"egress": "deny"})
        return job

    def drafted(self) -> Answer | None:
        """The local answer that an escalated job brings along."""
        return Answer.model_validate_json(self._open(self.draft)) if self.draft else None

    def _open(self, sealed: bytes) -> bytes:
        try:
            return self.seal.open(sealed)
        except Misconfigured as error:
            _log.error("%s cannot be read: %s", self.id, error)
            raise Unavailable("the stored content cannot be read by this worker") from None


def idempotency(job: Job) -> tuple[str, str]:
    """Key and digest under which a repeated submit is known; neither betrays what is in it."""
    if job.idempotency_key is None:
        return "", ""
    name = hashlib.sha256(job.idempotency_key.encode()).hexdigest()[:32]
    same = job.model_dump_json(by_alias=True, exclude={"id", "deadline"})
    digest = hmac.new(job.idempotency_key.encode(), same.encode(), hashlib.sha256).hexdigest()
    return f"fb:idempotency:{job.tenant}:{name}", digest


def outcome(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Answer | Receipt | None:
    """What became of a job, from its record and its sealed answer; none while it has not ended."""
    if not fields:
        return None
    record = Record.from_hash(job_id, decoded(fields))
    if record.state not in ENDED:
        return None
    receipt = record.to_receipt()
    if receipt.status != "done" or sealed is None:
        return receipt
    head = receipt.model_dump_json(exclude={"cost_usd"}).removesuffix("}")
    return Answer.model_validate_json(f'{head},"content":{seal.open(sealed).decode()}}}')


class Ledger:
    """The ledger in one Redis. Safe to share between threads.

    `bell` is the doorbell's template (`routing.doorbell`), or what makes it when first needed.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, bell: str | Callable[[], str]
    ) -> None:
        self.redis = client
        self.settings = settings
        self.seal = Seal.of(settings)
        self._given_bell = bell
        self._retention_ms = int(settings.retention_s * 1000)
        self._lease_ms = int(settings.lease_s * 1000)
        self._scripts: dict[str, Script] = {
            name: client.register_script(transition(name)) for name in TRANSITIONS
        }

    @cached_property
    def _bell(self) -> str:
        return self._given_bell if isinstance(self._given_bell, str) else self._given_bell()

    def _run(self, name: str, *args: Any) -> Any:
        with reaching_redis():
            return self._scripts[name](args=args)

    # --- putting on ---------------------------------------------------------------------------

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Put jobs on, in one round trip; `watcher` is a stream to be woken on when they end.

        Returns:
            For each job its id (the first one's, for a repeated idempotency key), or why not.

        Raises:
            Unavailable: Redis cannot be reached; whether the jobs were created is not known, and
                submitting the same jobs again is safe.
        """
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for job in jobs:
                self._scripts["create"](args=self._creation(job, watcher), client=pipe)
            replies = pipe.execute(raise_on_error=False)
        return [self._created(reply) for reply in replies]

    def _creation(self, job: Job, watcher: str) -> list[Any]:
        key, digest = idempotency(job)
        content = self.seal.close(job.model_dump_json(by_alias=True).encode())
        fields = [item for pair in envelope(job).items() for item in pair]
        limit = self.settings.max_waiting
        return [job.id, ROUTE, self._bell, content, key, digest, watcher, limit, *fields]

    @staticmethod
    def _created(reply: Any) -> str | ForebayError:
        if isinstance(reply, Exception):
            try:
                with reaching_redis():
                    raise reply
            except ForebayError as error:
                return error
        verb, detail = (str(part.decode()) for part in reply)
        if verb == "conflict":
            return InvalidJob("was used for another job", field="idempotency_key")
        if verb == "full":
            return Unavailable(f"{detail} jobs are waiting already", retry_after=30)
        return detail

    # --- taking off ---------------------------------------------------------------------------

    def claim(self, queue: str) -> Claim | None:
        """The best job waiting in this queue, now this worker's; none when nothing waits."""
        settings = self.settings
        nonce = secrets.token_hex(8)
        reply = self._run(
            "claim", queue, nonce, self._lease_ms, settings.max_attempts, self._retention_ms,
            int(settings.ageing_s * 1000), settings.bulk_share,
        )  # fmt: skip
        if reply is None:
            return None
        job_id, token, fields, sealed, draft = reply
        record = Record.from_hash(job_id.decode(), pairs(fields))
        return Claim(job_id.decode(), token.decode(), record, sealed, draft, self.seal)

    def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Hold these a little longer, in one round trip. Returns those that are lost."""
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for claim in claims:
                self._scripts["renew"](args=[claim.id, claim.token, self._lease_ms], client=pipe)
            held = pipe.execute()
        return [claim for claim, kept in zip(claims, held, strict=True) if not kept]

    def route(self, claim: Claim, queue: str, egress: str, reason: str, verdict: Verdict) -> None:
        """Move a job to its lane.

        Raises:
            EgressDenied: The lane is Bedrock, and the content may not leave.
            Lost: The job is not this claim's any more.
        """
        said = verdict.model_dump_json()
        reply = self._run(
            "route", claim.id, claim.token, queue, hop_of(queue), self._bell, egress, reason, said
        )
        self._moved(reply)

    def escalate(self, claim: Claim, reason: str, draft: Answer | None) -> None:
        """Move a job up to Bedrock, its local answer with it.

        Raises:
            EgressDenied: The content may not leave.
            Lost: The job is not this claim's any more.
        """
        sealed = self.seal.close(draft.model_dump_json().encode()) if draft else b""
        self._moved(self._run("escalate", claim.id, claim.token, self._bell, reason, sealed))

    @staticmethod
    def _moved(reply: bytes) -> None:
        if reply == b"lost":
            raise Lost
        if reply == b"egress_denied":
            raise EgressDenied("the content of this job may not leave", field="egress")

    def retry(self, claim: Claim, error: str, *, delay_s: float = 0, counted: bool = True) -> bool:
        """Give a job back, to be claimed again after `delay_s`; `error` is the code of why.

        Returns:
            Whether it waits again; not so when its attempts are used up: then it is dead.

        Raises:
            Lost: The job is not this claim's any more.
        """
        reply = self._run(
            "retry", claim.id, claim.token, self._bell, int(delay_s * 1000), error, int(counted),
            self.settings.max_attempts, self._retention_ms,
        )  # fmt: skip
        self._moved(reply)
        return bool(reply == b"waiting")

    # --- ending -------------------------------------------------------------------------------

    def settle(self, claim: Claim, outcome: Answer | Receipt) -> None:
        """End a job: with its answer, or with the receipt of its failure.

        Raises:
            Lost: The job is not this claim's any more; the outcome is dropped.
        """
        receipt = outcome.receipt if isinstance(outcome, Answer) else outcome
        sealed = b""
        if isinstance(outcome, Answer):
            sealed = self.seal.close(outcome.content.model_dump_json().encode())
        kept = self._run(
            "settle", claim.id, claim.token, receipt.status, receipt.model_dump_json(), sealed,
            receipt.error or "", self._retention_ms,
        )  # fmt: skip
        if not kept:
            raise Lost

    def cancel(self, job_id: str) -> bool:
        """End a job wherever it is. False when it had ended already.

        Raises:
            UnknownJob: There is no such job.
        """
        reply = self._run("cancel", job_id, self._retention_ms)
        if reply < 0:
            raise UnknownJob("no such job", field="id")
        return bool(reply)

    def forget(self, job_id: str) -> bool:
        """Leave nothing of a job, ended or not. False when there was nothing."""
        return bool(self._run("forget", job_id))

    def sweep(self, limit: int = 500) -> Swept:
        """One bounded batch of upkeep; see `sweep.lua`."""
        settings = self.settings
        return Swept(
            *self._run("sweep", limit, settings.max_attempts, self._retention_ms, self._bell)
        )

    # --- looking ------------------------------------------------------------------------------

    def watch(self, job_id: str, stream: str) -> str:
        """Have `stream` told when the job ends. Returns its state now.

        Raises:
            UnknownJob: There is no such job.
        """
        state = self._run("watch", job_id, stream)
        if state is None:
            raise UnknownJob("no such job", field="id")
        return str(state.decode())

    def record(self, job_id: str) -> Record:
        """What is known of a job.

        Raises:
            UnknownJob: There is no such job.
        """
        with reaching_redis():
            fields: Any = self.redis.hgetall(f"fb:job:{job_id}")
        if not fields:
            raise UnknownJob("no such job", field="id")
        return Record.from_hash(job_id, decoded(fields))

    def outcomes(self, job_ids: Sequence[str]) -> list[Answer | Receipt | ForebayError | None]:
        """For each job its answer, or the receipt of its failure; none where it has not ended.

        An error takes the place of one that cannot be read.
        """
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(f"fb:job:{job_id}")
                pipe.get(f"fb:answer:{job_id}")
            replies = pipe.execute()
        return [
            self._outcome(job_id, fields, sealed)
            for job_id, fields, sealed in zip(job_ids, replies[::2], replies[1::2], strict=True)
        ]

    def _outcome(
        self, job_id: str, fields: dict[bytes, bytes], sealed: bytes | None
    ) -> Answer | Receipt | ForebayError | None:
        try:
            return outcome(job_id, fields, sealed, self.seal)
        except Misconfigured as error:
            return error
        except (ValueError, LookupError, TypeError, CallerError):
            return InvalidJob("what is stored of this job cannot be read")

    def status(self, job_id: str) -> JobStatus:
        """Where a job is, and how many are before it.

        Raises:
            UnknownJob: There is no such job.
        """
        record = self.record(job_id)
        with reaching_redis():
            seconds, micros = self.redis.time()
        position, depth, served = self._run("position", job_id) or (-1, 0, 0)
        over = record.state in ENDED
        return JobStatus(
            id=job_id, kind=record.kind, state=record.state, hop=record.hop, queue=record.queue,
            position=None if position < 0 else position, depth=depth,
            served=over or served > 0, attempts=record.attempts,
            age_s=max(0.0, seconds + micros / 1e6 - record.created / 1000),
            receipt=record.to_receipt() if over else None,
        )  # fmt: skip

    def depths(self) -> dict[str, int]:
        """Jobs waiting, by queue."""
        with reaching_redis():
            depths: Any = self.redis.hgetall("fb:depth")
        return {queue.decode(): int(depth) for queue, depth in depths.items()}

    def serve(self, worker: str, queues: Iterable[str], for_s: float) -> None:
        """Say that a worker is alive and serves these queues for the next seconds."""
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            seconds, _ = self.redis.time()
            for queue in queues:
                key = f"fb:serving:{queue}"
                pipe.zadd(key, {worker: (seconds + for_s) * 1000})
                pipe.zremrangebyscore(key, "-inf", (seconds - 3600) * 1000)
            pipe.execute()
