"""The models that answer in each queue, as the workers of the queue announce them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from forebay.routing.base import Kind
from forebay.routing.store.connection import clock_of, reaching_redis

#: The model that answers a kind of job, and its revision.
Signature = tuple[str, str]


class ServedModels:
    """Which model answers which kind, by queue: `fb:models:<queue>`, a sorted set.

    Each member is what one or more workers serve, as JSON; its score is the time up to which they
    said so, in seconds by Redis' clock.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def announce(
        self, queues: Sequence[str], signatures: Mapping[Kind, Signature], for_s: float
    ) -> None:
        """Say for the next `for_s` seconds which model answers each kind in these queues.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        member = json.dumps(signatures, sort_keys=True)
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            now = clock_of(self._redis)
            for queue in queues:
                key = f"fb:models:{queue}"
                pipe.zadd(key, {member: now + for_s})
                pipe.zremrangebyscore(key, "-inf", now)
                pipe.pexpire(key, int(for_s * 1000))
            pipe.execute()

    def queue_of(self, model: str, kind: Kind, queues: Sequence[str]) -> str | None:
        """Return the first of these queues in which the model answers this kind of job.

        Raises:
            Unavailable: Redis cannot be reached, or this user may not read the models.
        """
        return next((name for name in queues if self.of(name).get(kind, ("",))[0] == model), None)

    def names(self, kind: Kind, queues: Sequence[str]) -> list[str]:
        """Return the models that answer this kind of job in these queues.

        Raises:
            Unavailable: Redis cannot be reached, or this user may not read the models.
        """
        found = (self.of(queue).get(kind) for queue in queues)
        return sorted({signature[0] for signature in found if signature})

    def of(self, queue: str) -> dict[Kind, Signature]:
        """Return the model that answers each kind in a queue, if its workers agree on that.

        Raises:
            Unavailable: Redis cannot be reached, or this user may not read the models.
        """
        with reaching_redis():
            now, key = clock_of(self._redis), f"fb:models:{queue}"
            members: Any = self._redis.zrangebyscore(key, now, "+inf")
        first, *others = [json.loads(member) for member in members] or [{}]
        return {
            kind: (model, revision)
            for kind, (model, revision) in first.items()
            if all(other.get(kind) == [model, revision] for other in others)
        }
