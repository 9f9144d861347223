"""The batches on Bedrock that Redis knows: begun with jobs of a group, moved on, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from forebay.routing.bedrock_batches.batch_record import BatchRecord, BatchState
from forebay.routing.ledger.record import fields_of
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import clock_of, decoded, reaching_redis, text_of

#: How long a batch that has ended is remembered.
KEEP_S = 7 * 86_400
MAX_LISTED = 100
JOBS_PER_STEP = 500  # that one script moves; some milliseconds of Redis' time

_OPEN, _ENDED = "fb:bedrock:batches", "fb:bedrock:batches:ended"


class BedrockBatches:
    """The batches in one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._transitions = Transitions(client)

    def board(
        self, batch_id: str, group: str, about: Mapping[str, str], *, most: int, hold_s: float
    ) -> int:
        """Move jobs of a group into a batch that is being written; return how many were moved.

        Args:
            batch_id: the batch, which is begun if it is new.
            group: where the jobs wait.
            about: further fields of a new batch.
            most: the most jobs that the batch may hold.
            hold_s: after so long a job of the batch is given back to its queue in any case.
        """
        pairs = [item for pair in about.items() for item in pair]
        boarded = 0
        while boarded < most:
            moved = self._transitions.run(
                "board", batch_id, group, JOBS_PER_STEP, int(hold_s * 1_000), most, *pairs
            )
            if moved <= 0:
                break
            boarded += moved
        return boarded

    def advance(
        self, batch: BatchRecord, state: BatchState, **fields: str | int
    ) -> BatchRecord | None:
        """Move a batch on from the state that it had; `None` if another worker moved it already."""
        pairs = [str(item) for pair in fields.items() for item in pair]
        moved = self._transitions.run(
            "advance", batch.id, batch.state, state, KEEP_S * 1_000, *pairs
        )
        return self.get(batch.id) if moved else None

    def leave(
        self,
        job_ids: Sequence[str],
        bell: str,
        *,
        batch: str = "waiting",
        of_group: str = "",
        to_group: str = "",
        wait_s: float = 1.0,
    ) -> int:
        """Have jobs leave a batch, or a group (`of_group`), for their queue or for `to_group`.

        Returns:
            How many left. A job that has ended, or is elsewhere, is passed over.
        """
        head = [bell, batch, of_group, to_group, int(wait_s * 1_000)]
        steps = [
            [*head, *job_ids[at : at + JOBS_PER_STEP]]
            for at in range(0, len(job_ids), JOBS_PER_STEP)
        ]
        return sum(self._transitions.run("leave", *args) for args in steps)

    def get(self, batch_id: str) -> BatchRecord | None:
        """Return the record of a batch; `None` if there is none."""
        with reaching_redis():
            fields: Any = self._redis.hgetall(f"fb:bedrock:batch:{batch_id}")
        return BatchRecord.read(batch_id, decoded(fields)) if fields else None

    def is_open(self, batch_id: str) -> bool:
        """Return whether a batch has not ended."""
        with reaching_redis():
            return self._redis.zscore(_OPEN, batch_id) is not None

    def open(self) -> list[BatchRecord]:
        """Return the batches that have not ended, the oldest first."""
        return self._read(_OPEN, 0, -1)

    def ended(self) -> list[BatchRecord]:
        """Return the batches that ended last, the latest first, at most `MAX_LISTED`."""
        return self._read(_ENDED, -MAX_LISTED, -1)[::-1]

    def jobs(self, batch_id: str) -> dict[str, str]:
        """Return the jobs of a batch by the ids of their records."""
        with reaching_redis():
            jobs: Any = self._redis.hgetall(f"fb:bedrock:batch:{batch_id}:jobs")
        return decoded(jobs)

    def is_awaited(self, batch_id: str, job_ids: Sequence[str]) -> bool:
        """Return whether any of these jobs still waits for the batch, and its bulk goes on."""
        for at in range(0, len(job_ids), JOBS_PER_STEP):
            step = job_ids[at : at + JOBS_PER_STEP]
            rows = fields_of(self._transitions, step, ["state", "batch", "bulk"])
            here = {bulk or b"" for state, mark, bulk in rows if _waits(state, mark, batch_id)}
            if any(not self._is_cancelled(text_of(bulk)) for bulk in here):
                return True
        return False

    def now_ms(self) -> int:
        """Return the time by Redis' clock."""
        with reaching_redis():
            return int(clock_of(self._redis) * 1_000)

    def _is_cancelled(self, bulk: str) -> bool:
        if not bulk:
            return False
        ((state,),) = fields_of(self._transitions, [bulk], ["state"], family="bulk")
        return state == b"cancelled"

    def _read(self, key: str, first: int, last: int) -> list[BatchRecord]:
        with reaching_redis():
            ids: Any = self._redis.zrange(key, first, last)
        found = [self.get(batch_id.decode()) for batch_id in ids]
        return [batch for batch in found if batch is not None]


def _waits(state: bytes | None, mark: bytes | None, batch_id: str) -> bool:
    return state == b"waiting" and mark == batch_id.encode()
