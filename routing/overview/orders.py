"""An operator's orders to one worker: to take no more jobs, or to hold fewer. Held in Redis.

An order is for a worker's name, so it outlives the process, and holds for its successor.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from forebay.routing.limits.pauses import KEY, Pauses, keep_order
from forebay.routing.store.connection import reaching_redis

HANDS = "fb:hands"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do.

    Attributes:
        drained: take no jobs.
        hands: the jobs that it holds at most; `None` if nobody has said.
    """

    drained: bool = False
    hands: int | None = None


class Orders:
    """The orders in one Redis. A drained worker is a pause of the scope `worker:<name>`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis, self._pauses = client, Pauses(client)

    def of(self, worker: str) -> Order:
        """Return what a worker is to do."""
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hexists(KEY, f"worker:{worker}")
            pipe.hget(HANDS, worker)
            drained, hands = pipe.execute()
        return Order(bool(drained), int(hands) if hands and hands.isdigit() else None)

    def drain(self, worker: str, reason: str = "") -> None:
        """Have a worker take no more jobs; what it holds, it finishes."""
        self._pauses.pause(f"worker:{worker}", reason)

    def resume(self, worker: str) -> bool:
        """Have a worker take jobs again; return false if it was not drained."""
        return self._pauses.resume(f"worker:{worker}")

    def scale(self, worker: str, hands: int | None) -> None:
        """Have a worker hold at most so many jobs; `None` takes the order back."""
        if hands is not None:
            keep_order(self._redis, HANDS, worker, str(hands))
            return
        with reaching_redis():
            self._redis.hdel(HANDS, worker)
