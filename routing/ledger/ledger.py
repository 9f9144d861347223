"""The ledger: the durable record of every job, and which jobs wait in which queue.

Duties:
1. `create` a job together with its doorbell, and recognise a repeated idempotency key.
2. `claim` the best job waiting in a queue, under a lease and a fencing token; `renew` the lease.
3. Move a job: `route`, `escalate`, `retry`.
4. End a job exactly once: `settle`, `cancel`; remove it: `forget`.
5. Keep itself true: `sweep` and `repair` (`forebay.routing.ledger.upkeep`).
6. Tell where a job is and what became of it (`forebay.routing.ledger.reader`).

Every transition is one Lua script (`lua/`) that uses Redis' own clock. A job can be worked twice,
if its worker was taken for dead and was alive. Only the worker that holds the token settles it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import redis

from forebay.routing.errors import EgressDenied, ForebayError, InvalidJob, Lost, UnknownJob
from forebay.routing.jobs import CONTRACT, Answer, Job, Receipt, Verdict
from forebay.routing.lanes import ROUTE
from forebay.routing.ledger.admission import (
    NewJob,
    batch_args,
    batched,
    created,
    envelope,
    idempotency,
    is_confined,
    spread,
)
from forebay.routing.ledger.claim import ANY_JOB, Claim, Move, Selection, check_moved, refusal_of
from forebay.routing.ledger.reader import check_stream
from forebay.routing.ledger.record import Record, contract_of, pairs
from forebay.routing.ledger.result import end_of, settling
from forebay.routing.ledger.upkeep import LedgerUpkeep
from forebay.routing.logs import Event, event
from forebay.routing.receipts import JobState
from forebay.routing.settings import Settings
from forebay.routing.tracing import traceparent

log = logging.getLogger(__name__)

NEWER_DELAY_MS = 2_000  # until a worker may claim a job again that was too new for another


class Ledger(LedgerUpkeep):
    """The ledger in one Redis. Safe to share between threads."""

    def __init__(
        self, client: redis.Redis, settings: Settings, bell: str | Callable[[], str]
    ) -> None:
        """`bell` is the doorbell's template, or makes it (`forebay.routing.broker.doorbell`)."""
        super().__init__(client, settings, bell)
        self._confined = False  # this user of Redis may not put a job into a lane's queue

    def places(self) -> Sequence[Ledger]:
        """Return the ledgers that may hold its jobs: itself, unless they are in several fleets."""
        return [self]

    def place_of(self, _job_id: str) -> Ledger:
        """Return the ledger that holds a job."""
        return self

    # --- putting jobs on ----------------------------------------------------------------------

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """Store jobs and ring their doorbells, in one round trip.

        Args:
            jobs: the jobs.
            watcher: the stream to which each job's end is written, if any.

        Returns:
            For each job its id, or why it was refused. For a repeated idempotency key, the id is
            that of the first job under the key.

        Raises:
            UnknownJob: The stream is not one of the jobs' tenant.
            Unavailable: Redis cannot be reached. Some of the jobs may have been created; it is safe
                to submit the same jobs again.
        """
        for job in jobs:
            check_stream(job.id, watcher)
        trace = traceparent.current()
        return self.put_on([self._new_job(job, watcher, trace) for job in jobs])

    def put_on(self, rows: Sequence[NewJob]) -> list[str | ForebayError]:
        """Create jobs or shards, in one round trip; see `create`."""
        head = [ROUTE, self.bell, self.settings.max_waiting, int(not self._confined)]
        batches = batched(rows)
        runs = [[*head, *batch_args(batch)] for batch in batches]
        replies = self._transitions.run_all("create", runs)
        of_batches = zip(replies, batches, strict=True)
        each = [one for reply, batch in of_batches for one in spread(reply, batch)]
        self._confined = self._confined or any(map(is_confined, each))
        return [created(reply) for reply in each]

    def _new_job(self, job: Job, watcher: str, trace: str) -> NewJob:
        secret = self.settings.cache_key
        key, digest = idempotency(job, secret.get_secret_value().encode() if secret else b"")
        content, fields = self.packed(job, trace)
        return NewJob(job.id, content, fields, watcher, key, digest)

    def packed(self, job: Job, trace: str | None = None) -> tuple[bytes, list[str]]:
        """Return a new job as the scripts take it: the sealed content, and names and values."""
        content = self.seal.close(job.stored())
        return content, envelope(job, traceparent.current() if trace is None else trace)

    # --- holding jobs -------------------------------------------------------------------------

    def claim(
        self,
        queue: str,
        *,
        unrung: bool = False,
        shards: bool = False,
        selection: Selection = ANY_JOB,
    ) -> Claim | None:
        """Claim the best job waiting in a queue, or return `None` if no job waits.

        Args:
            queue: the queue.
            unrung: no doorbell called the worker, so one is taken from the queue with the job.
            shards: claim a shard of a bulk, and no other job.
            selection: the jobs that may be claimed.
        """
        claims = self.claim_many(queue, 1, unrung=unrung, shards=shards, selection=selection)
        return claims[0] if claims else None

    def claim_many(
        self,
        queue: str,
        most: int,
        *,
        unrung: bool = False,
        shards: bool = False,
        selection: Selection = ANY_JOB,
    ) -> list[Claim]:
        """Claim the best jobs waiting in a queue, at most so many, in one round trip.

        If their contents are large, fewer are claimed. The list is empty if no job waits.
        """
        settings = self.settings
        while replies := self._run_claim(
            queue, self._lease_ms, settings.max_attempts,
            self._retention_ms, int(settings.ageing_s * 1000), settings.bulk_share, int(unrung),
            int(shards), most, self.bell, selection.packed(),
        ):  # fmt: skip
            claims = [claim for reply in replies if (claim := self._claimed(*reply))]
            if claims:
                return claims
        return []

    def _claimed(
        self, job_id: bytes, token: bytes, fields: list[bytes], sealed: bytes, draft: bytes
    ) -> Claim | None:
        try:
            named = pairs(fields)
            if contract_of(named) <= CONTRACT:
                record = Record.from_hash(job_id.decode(), named)
                return Claim(record.id, token.decode(), record, sealed, draft, self.seal)
            self._leave_to_newer(job_id, token)
        except (ValueError, InvalidJob):  # the record is forged or damaged: no worker can work it
            failure = (job_id, token, "failed", "", "", InvalidJob.code)
            with suppress(ForebayError):  # its lease ends, and the jobs that came along are worked
                self._transitions.run("settle", self._retention_ms, *failure)
        return None

    def _leave_to_newer(self, job_id: bytes, token: bytes) -> None:
        """Give back a job that a newer version has stored. That is no attempt of the job."""
        log.warning("%s is of a newer version", job_id.decode(), extra=event(Event.JOB_NEWER))
        note = "it was submitted by a newer version of Forebay, which no worker has yet"
        with suppress(ForebayError):  # as above
            self._transitions.run(
                "retry", job_id, token, self.bell, NEWER_DELAY_MS, "unavailable", 0,
                self.settings.max_attempts, self._retention_ms, note,
            )  # fmt: skip

    def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Renew the leases of these claims, in one round trip, and return the lost claims."""
        rows = [[claim.id, claim.token, self._lease_ms] for claim in claims]
        replies = self._transitions.run_all("renew", rows)
        return [claim for claim, renewed in zip(claims, replies, strict=True) if renewed == 0]

    def route(
        self, claim: Claim, queue: str, egress: str, reason: str, verdict: Verdict | None
    ) -> None:
        """Move a job to a lane: from the router, from Bedrock back to the local lane, or on.

        Raises:
            EgressDenied: The lane is Bedrock, and the content may not leave.
            Lost: The claim no longer holds the job.
        """
        (error,) = self.route_many([Move(claim, queue, egress, reason, verdict)])
        if error is not None:
            raise error

    def route_many(self, moves: Sequence[Move]) -> list[Lost | EgressDenied | None]:
        """Move jobs to their lanes, in one round trip; return for each what `route` would raise."""
        replies = self._transitions.run(
            "route", self.bell, *(part for move in moves for part in move.as_args())
        )
        return [refusal_of(reply) for reply in replies]

    def escalate(self, claim: Claim, reason: str, draft: Answer | None) -> None:
        """Move a job up to Bedrock, together with its local answer.

        Raises:
            EgressDenied: The content may not leave.
            Lost: The claim no longer holds the job.
        """
        sealed = self.seal.close(draft.model_dump_json().encode()) if draft else b""
        doubt = draft.doubt.model_dump_json() if draft and draft.doubt else ""
        args = claim.id, claim.token, self.bell, reason, sealed, doubt
        check_moved(self._transitions.run("escalate", *args))

    def retry(
        self, claim: Claim, error: str, *, note: str = "", delay_s: float = 0, counted: bool = True
    ) -> JobState:
        """Give a job back to its queue.

        Args:
            claim: the hold on the job.
            error: code of the error that makes another attempt necessary.
            note: what the error says, for the receipt if this was the last attempt; never content.
            delay_s: seconds until the job can be claimed again.
            counted: false if the attempt never began, so that it does not count.

        Returns:
            `waiting` if the job waits again. If no attempts are left, `failed`, or `done` if a kept
            draft became the answer.

        Raises:
            Lost: The claim no longer holds the job.
        """
        reply = self._transitions.run(
            "retry", claim.id, claim.token, self.bell, int(delay_s * 1000), error, int(counted),
            self.settings.max_attempts, self._retention_ms, note,
        )  # fmt: skip
        check_moved(reply)
        state: JobState = reply.decode()
        return state

    def keep_draft(self, claim: Claim, draft: bytes, rows_over: int | None = None) -> None:
        """Keep this sealed answer, of that many rows, until the job ends; an empty one is none."""
        over = () if rows_over is None else (rows_over,)
        self._transitions.run("keep_draft", claim.id, claim.token, draft, *over)

    def settle(self, claim: Claim, result: Answer | Receipt) -> JobState:
        """End a job with its answer, or with the receipt of its failure.

        Returns:
            How the job ended: as the receipt says, or `done` if a kept draft replaces a failure.

        Raises:
            Lost: The claim no longer holds the job; the result is dropped.
        """
        (state,) = self.settle_many([(claim, result)])
        if isinstance(state, Exception):
            raise state
        return state

    def settle_many(
        self, results: Sequence[tuple[Claim, Answer | Receipt]]
    ) -> list[JobState | Lost | ForebayError]:
        """End jobs, in one round trip; return for each what `settle` returns or would raise."""
        return [
            end_of(reply)
            for run in settling(results, self.seal)
            for reply in self._transitions.run("settle", self._retention_ms, *run)
        ]

    def cancel(self, job_id: str) -> bool:
        """End a job wherever it is. Return false if it had ended already.

        Raises:
            UnknownJob: There is no such job.
        """
        reply = self._transitions.run("cancel", job_id, self._retention_ms)
        if reply < 0:
            raise UnknownJob("no such job", field="id")
        return bool(reply)

    def cancel_all(self, job_ids: Sequence[str]) -> None:
        """End these jobs in one round trip; one that has ended or is unknown is no error."""
        self._transitions.run_all("cancel", [[job_id, self._retention_ms] for job_id in job_ids])

    def forget(self, job_id: str) -> bool:
        """Remove all that is stored of a job, ended or not. Return false if there was nothing."""
        return bool(self._transitions.run("forget", job_id, "") == b"forgotten")

    def forget_all(self, job_ids: Sequence[str]) -> None:
        """Remove all that is stored of these jobs, in one round trip; see `forget`."""
        self._transitions.run_all("forget", [[job_id, ""] for job_id in job_ids])
