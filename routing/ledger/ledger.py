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

import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from forebay.routing.errors import (
    EgressDenied,
    ForebayError,
    InvalidJob,
    Lost,
    Unavailable,
    UnknownJob,
)
from forebay.routing.jobs import Answer, Job, JobStatus, Receipt, Verdict
from forebay.routing.lanes import ROUTE, hop_of
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import ENDED, Record, envelope, idempotency, pairs
from forebay.routing.ledger.result import Result, result_of
from forebay.routing.settings import Settings
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.encryption import Seal
from forebay.routing.store.scripts import transition

TRANSITIONS = (
    "create", "claim", "renew", "route", "escalate", "settle", "retry", "cancel", "forget",
    "watch", "position", "sweep",
)  # fmt: skip


class Swept(NamedTuple):
    """What one sweep did, in jobs; `rung` in doorbells.

    `full` is the percentage of memory in use where that keeps new jobs out, and else 0.
    """

    back: int
    dead: int
    due: int
    expired: int
    rung: int
    full: int


def refusal(verb: str, detail: str) -> Unavailable | None:
    """Why a script took no new job in; none where it did."""
    if verb == "full":
        return Unavailable(f"{detail} jobs are waiting already", retry_after=30)
    if verb == "memory":
        return Unavailable(f"{detail} % of Redis' memory is in use", retry_after=30)
    return None


class Ledger:
    """The ledger in one Redis. Safe to share between threads.

    `bell` is the doorbell's template (`routing.broker.doorbell`), or what makes it when first needed.
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
    def bell(self) -> str:
        """The doorbell's template."""
        return self._given_bell if isinstance(self._given_bell, str) else self._given_bell()

    def _run(self, name: str, *args: Any) -> Any:
        with reaching_redis():
            return self._scripts[name](args=args)

    def _run_all(self, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a transition for each row, in one round trip; an error stands in its row's place.

        Every transition that is run like this may be run again: some Redis forgot the script, the
        rows that it knew it by are run twice.
        """
        script = self._scripts[name]
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for _ in range(2):
                for args in rows:
                    pipe.evalsha(script.sha, 0, *args)
                replies = pipe.execute(raise_on_error=False)
                if not any(isinstance(reply, NoScriptError) for reply in replies):
                    break
                self.redis.script_load(script.script)
        return replies

    # --- putting on ---------------------------------------------------------------------------

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Put jobs on, in one round trip; `watcher` is a stream to be woken on when they end.

        Returns:
            For each job its id (the first one's, for a repeated idempotency key), or why not.

        Raises:
            Unavailable: Redis cannot be reached; whether the jobs were created is not known, and
                submitting the same jobs again is safe.
        """
        replies = self._run_all("create", [self._creation(job, watcher) for job in jobs])
        return [self._created(reply) for reply in replies]

    def _creation(self, job: Job, watcher: str) -> list[Any]:
        key, digest = idempotency(job)
        content, fields = self.packed(job)
        limit = self.settings.max_waiting
        return [job.id, ROUTE, self.bell, content, key, digest, watcher, limit, *fields]

    def packed(self, job: Job) -> tuple[bytes, list[str]]:
        """A new job as the scripts take it: its content, sealed, and its fields, name and value."""
        content = self.seal.close(job.model_dump_json(by_alias=True).encode())
        return content, [item for pair in envelope(job).items() for item in pair]

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
        return refusal(verb, detail) or detail

    # --- taking off ---------------------------------------------------------------------------

    def claim(self, queue: str, *, unrung: bool = False) -> Claim | None:
        """The best job waiting in this queue, now this worker's; none when nothing waits.

        `unrung`: no doorbell called for it; one that still hangs in the queue is taken along.
        """
        settings = self.settings
        while reply := self._run(
            "claim", queue, secrets.token_hex(8), self._lease_ms, settings.max_attempts,
            self._retention_ms, int(settings.ageing_s * 1000), settings.bulk_share, int(unrung),
        ):  # fmt: skip
            claim = self._claimed(*reply)
            if claim is not None:
                return claim
        return None

    def _claimed(
        self, job_id: bytes, token: bytes, fields: list[bytes], sealed: bytes, draft: bytes
    ) -> Claim | None:
        try:
            record = Record.from_hash(job_id.decode(), pairs(fields))
        except (ValueError, InvalidJob):  # forged or damaged: nobody can ever work it
            failure = ("failed", "", "", InvalidJob.code, self._retention_ms)
            self._run("settle", job_id, token, *failure)
            return None
        return Claim(record.id, token.decode(), record, sealed, draft, self.seal)

    def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Hold these a little longer, in one round trip. Returns those that are lost."""
        rows = [[claim.id, claim.token, self._lease_ms] for claim in claims]
        held = self._run_all("renew", rows)
        return [claim for claim, kept in zip(claims, held, strict=True) if kept == 0]

    def route(self, claim: Claim, queue: str, egress: str, reason: str, verdict: Verdict) -> None:
        """Move a job to its lane.

        Raises:
            EgressDenied: The lane is Bedrock, and the content may not leave.
            Lost: The job is not this claim's any more.
        """
        said = verdict.model_dump_json()
        reply = self._run(
            "route", claim.id, claim.token, queue, hop_of(queue), self.bell, egress, reason, said
        )
        self._moved(reply)

    def escalate(self, claim: Claim, reason: str, draft: Answer | None) -> None:
        """Move a job up to Bedrock, its local answer with it.

        Raises:
            EgressDenied: The content may not leave.
            Lost: The job is not this claim's any more.
        """
        sealed = self.seal.close(draft.model_dump_json().encode()) if draft else b""
        doubt = draft.doubt.model_dump_json() if draft and draft.doubt else ""
        args = claim.id, claim.token, self.bell, reason, sealed, doubt
        self._moved(self._run("escalate", *args))

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
            "retry", claim.id, claim.token, self.bell, int(delay_s * 1000), error, int(counted),
            self.settings.max_attempts, self._retention_ms,
        )  # fmt: skip
        self._moved(reply)
        return bool(reply == b"waiting")

    # --- ending -------------------------------------------------------------------------------

    def settle(self, claim: Claim, result_of: Answer | Receipt) -> None:
        """End a job: with its answer, or with the receipt of its failure.

        Raises:
            Lost: The job is not this claim's any more; the outcome is dropped.
        """
        receipt = result_of.receipt if isinstance(result_of, Answer) else result_of
        sealed = b""
        if isinstance(result_of, Answer):
            sealed = self.seal.close(result_of.content.model_dump_json().encode())
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
        return bool(self._run("forget", job_id, "") == b"forgotten")

    def sweep(self, limit: int = 500) -> Swept:
        """One bounded batch of upkeep; see `sweep.lua`."""
        settings = self.settings
        counts = self._run(
            "sweep", limit, settings.max_attempts, self._retention_ms, self.bell,
            settings.memory_limit, int(max(5.0, 10 * settings.sweep_s) * 1000),
        )  # fmt: skip
        return Swept(*counts)

    # --- looking ------------------------------------------------------------------------------

    def watch(self, job_id: str, stream: str) -> str:
        """Have `stream` told when the job ends. Returns its state now.

        Raises:
            UnknownJob: There is no such job.
        """
        state = self._run("watch", job_id, stream)
        if state is None:
            raise UnknownJob("no such job", field="id")
        return str(state.decode("utf-8", "replace"))

    def watch_all(self, job_ids: Sequence[str], stream: str) -> list[str | None]:
        """As `watch`, for many in one round trip; none for a job that there is not."""
        states = self._run_all("watch", [[job_id, stream] for job_id in job_ids])
        return [state.decode("utf-8", "replace") if state else None for state in states]

    def record(self, job_id: str) -> Record:
        """What is known of a job.

        Raises:
            UnknownJob: There is no such job.
            InvalidJob: Somebody else wrote its record.
        """
        with reaching_redis():
            fields: Any = self.redis.hgetall(f"fb:job:{job_id}")
        if not fields:
            raise UnknownJob("no such job", field="id")
        return Record.read(job_id, fields)

    def outcomes(self, job_ids: Sequence[str]) -> list[Result | None]:
        """For each job its answer, or the receipt of its failure; none where it has not ended.

        An error takes the place of one that cannot be read.
        """
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(f"fb:job:{job_id}")
                pipe.get(f"fb:answer:{job_id}")
            replies = pipe.execute()
        return [
            result_of(job_id, fields, sealed, self.seal)
            for job_id, fields, sealed in zip(job_ids, replies[::2], replies[1::2], strict=True)
        ]

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
                pipe.expire(key, int(for_s) + 3600)
            pipe.execute()


__all__ = ["Claim", "Ledger", "Lost", "Swept", "refusal"]
