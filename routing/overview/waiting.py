"""How many jobs wait in each queue and class, and for how long the oldest of them has waited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import redis

from forebay.routing.lanes import SHARDS
from forebay.routing.ledger.record import fields_of
from forebay.routing.ledger.transitions import Transitions
from forebay.routing.store.connection import clock_of, reaching_redis, text_of

JOB_CLASSES = ("interactive", "bulk")
SHARD_CLASS = "shards"
CLASSES = (*JOB_CLASSES, SHARD_CLASS)
#: A job without a deadline is ordered as if due so long after it was submitted (`prelude.lua`).
HORIZON_MS = 3_600_000
MAX_TENANTS = 1_000  # of a queue that are looked at
MAX_JOBS = 500  # of a tenant that are looked at for the oldest
JOBS_PER_READ = 50
MAX_DIGITS = 16  # of a time in milliseconds


class WaitingLine(NamedTuple):
    """The jobs of one class that wait in a queue; shards of bulks are a class of their own.

    Attributes:
        oldest_s: seconds since the oldest of them was submitted; 0 if none waits.
    """

    queue: str
    priority: str
    depth: int
    oldest_s: float


class WaitingJobs:
    """Reads the waiting jobs of one Redis. All methods raise `Unavailable` without it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis, self._transitions = client, Transitions(client)

    def lines(self, classes: Sequence[str] = CLASSES) -> list[WaitingLine]:
        """Return a line for each queue that was ever used and each of the classes."""
        with reaching_redis():
            now_ms = int(clock_of(self._redis) * 1000)
            depths: Any = self._transitions.run("depths")
            queues = map(text_of, depths[::2])
            names = sorted({name.removesuffix(SHARDS) for name in queues})
            return [self._line(*place, now_ms) for place in product(names, classes)]

    def _line(self, queue: str, priority: str, now_ms: int) -> WaitingLine:
        place = f"{queue}{SHARDS}" if priority == SHARD_CLASS else f"{queue}:{priority}"
        keys = [f"fb:waiting:{place}:{name}" for name in self._tenants(place)]
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.zcard(key)
            depth = sum(pipe.execute())
        oldest = min((created for key in keys for created in self._oldest(key)), default=now_ms)
        return WaitingLine(queue, priority, depth, max(0, now_ms - oldest) / 1000)

    def _tenants(self, place: str) -> list[str]:
        """Return the tenants with jobs in a class of a queue: those in turn, and newcomers."""
        turn: Any = self._redis.zrange(f"fb:turn:{place}", 0, MAX_TENANTS - 1)
        newcomers = self._members(f"fb:newcomers:{place}", 0, MAX_TENANTS - 1)
        return sorted({*map(text_of, turn), *(name for name, _ in newcomers)})

    def _members(self, key: str, first: int, last: int) -> list[tuple[str, float]]:
        """Return the names and scores of members of a set that a tenant may have written."""
        flat: Any = self._transitions.run("members", key, first, last)
        return list(zip(map(text_of, flat[::2]), map(float, flat[1::2]), strict=True))

    def _oldest(self, key: str) -> Iterator[int]:
        """Yield when the oldest job of a tenant was submitted, unless none waits.

        Jobs are ordered by when they are due, which is at most `HORIZON_MS` after they were
        submitted. So once a job is found that is older than the next one's due time less that, no
        later one can be older.
        """
        oldest: int | None = None
        for start in range(0, MAX_JOBS, JOBS_PER_READ):
            end = start + JOBS_PER_READ - 1
            page = self._members(key, start, end)
            if not page or (oldest is not None and oldest <= page[0][1] / 1000 - HORIZON_MS):
                break
            rows = fields_of(self._transitions, [job_id for job_id, _ in page], ["created"])
            created = [int(value) for (value,) in rows if value and _is_time(value)]
            oldest = min([*created, *([] if oldest is None else [oldest])], default=None)
        if oldest is not None:
            yield oldest


def _is_time(value: bytes) -> bool:
    """Return whether a record says when it was made: its tenant may have written anything."""
    return value.isdigit() and len(value) < MAX_DIGITS
