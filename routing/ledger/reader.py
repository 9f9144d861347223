"""The reading side of the ledger: records, results, positions, depths, and word of a job's end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from forebay.routing.errors import InvalidJob, UnknownJob
from forebay.routing.jobs import JobStatus
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.record import ENDED, Record, stored
from forebay.routing.ledger.result import Result, read_result
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.settings import Settings
from forebay.routing.store.connection import clock_of, reaching_redis, text_of
from forebay.routing.store.encryption import Seal


class LedgerReader:
    """Reads jobs from one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.redis = client
        self.settings = settings
        self.seal = Seal.of(settings)
        self._transitions = Transitions(client)

    def record(self, job_id: str) -> Record:
        """Return the record of a job.

        Raises:
            UnknownJob: There is no such job.
            InvalidJob: The record is damaged.
        """
        (fields, _), *_ = stored(self._transitions, [job_id])
        if not fields:
            raise UnknownJob("no such job", field="id")
        return Record.read(job_id, fields)

    def records(self, job_ids: Sequence[str]) -> list[Record]:
        """Return the records of these jobs, in one round trip; unreadable ones are left out."""
        readable = []
        for job_id, (fields, _) in zip(job_ids, stored(self._transitions, job_ids), strict=True):
            with suppress(InvalidJob):
                readable.append(Record.read(job_id, fields))
        return readable

    def results(self, job_ids: Sequence[str]) -> list[Result | None]:
        """Return for each job its answer, or the receipt of its failure, in one round trip.

        The result is `None` for a job that has not ended or does not exist, and an error for a job
        whose stored result cannot be read.
        """
        found = stored(self._transitions, job_ids, answers=True)
        return [
            read_result(job_id, fields, sealed, self.seal)
            for job_id, (fields, sealed) in zip(job_ids, found, strict=True)
        ]

    def lost(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return those of these claims that do not hold their jobs any more, in one round trip."""
        pairs = [part for claim in claims for part in (claim.id, claim.token)]
        tokens = set(map(text_of, self._transitions.run("lost", *pairs)))
        return [claim for claim in claims if claim.token in tokens]

    def status(self, job_id: str) -> JobStatus:
        """Return where a job is, and how many jobs would be claimed before it.

        Raises:
            UnknownJob: There is no such job.
            InvalidJob: The record is damaged.
        """
        record = self.record(job_id)
        with reaching_redis():
            now = clock_of(self.redis)
        position, depth, workers = self._transitions.run("position", job_id) or (-1, 0, 0)
        ended = record.state in ENDED
        return JobStatus(
            id=job_id, kind=record.kind, state=record.state, hop=record.hop, queue=record.queue,
            position=None if position < 0 else position, depth=depth,
            served=ended or workers > 0, attempts=record.attempts,
            age_s=max(0.0, now - record.created / 1000), created=record.created / 1000,
            error=None if ended else record.error or None,
            receipt=record.to_receipt() if ended else None,
        )  # fmt: skip

    def depths(self) -> dict[str, int]:
        """Return the number of waiting jobs by queue."""
        flat: Any = self._transitions.run("depths")
        return {text_of(queue): depth for queue, depth in zip(flat[::2], flat[1::2], strict=True)}

    def queues_with_jobs(self, queues: Sequence[str], *, bulk: bool) -> list[str]:
        """Return the queues in which interactive jobs may wait, or bulk jobs too.

        No such jobs wait in the others. This costs Redis less than a claim.
        """
        classes = ("interactive", "bulk") if bulk else ("interactive",)
        with reaching_redis(), self.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                places = [f"{queue}:{name}" for name in classes]
                pipe.exists(
                    *(f"fb:{key}:{place}" for place in places for key in ("turn", "newcomers"))
                )
            counts = pipe.execute()
        return [queue for queue, count in zip(queues, counts, strict=True) if count]

    def workers(self) -> dict[str, list[str]]:
        """Return the names of the live workers of each queue that any serves."""
        served: dict[str, list[str]] = {}
        with reaching_redis():
            now_ms = int(clock_of(self.redis) * 1000)
            for key in self.redis.scan_iter(match="fb:serving:*", count=1_000):
                alive: Any = self.redis.zrangebyscore(key, now_ms, "+inf")
                if alive:
                    served[key.decode().removeprefix("fb:serving:")] = list(map(text_of, alive))
        return served

    def watch(self, job_id: str, stream: str) -> str:
        """Have a job's end written to `stream`, and return the job's present state.

        Raises:
            UnknownJob: There is no such job, or the stream is another tenant's.
        """
        check_stream(job_id, stream)
        state = self._transitions.run("watch", job_id, stream)
        if state is None:
            raise UnknownJob("no such job", field="id")
        return text_of(state)

    def watch_all(self, job_ids: Sequence[str], stream: str) -> list[str | None]:
        """Watch many jobs in one round trip.

        The state of a job that does not exist, or is not the stream's tenant's, is `None`.
        """
        own = [job_id for job_id in job_ids if _may_watch(job_id, stream)]
        states = self._transitions.run_all("watch", [[job_id, stream] for job_id in own])
        known = {job_id: state for job_id, state in zip(own, states, strict=True) if state}
        return [text_of(known[job_id]) if job_id in known else None for job_id in job_ids]


def check_stream(job_id: str, stream: str) -> None:
    """Raise `UnknownJob` unless the stream is empty or one of the wake-up streams of the tenant."""
    if stream and not _may_watch(job_id, stream):
        raise UnknownJob("no such job of this tenant", field="id")


def _may_watch(job_id: str, stream: str) -> bool:
    return stream.startswith(f"fb:wake:{job_id.partition('.')[0]}:")
