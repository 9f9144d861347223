"""Whether the spillway to Bedrock is open: a breaker that all workers share, in one Redis key."""

from __future__ import annotations

from typing import Any, Literal

import redis

from forebay.routing.lanes import BEDROCK
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

KEY = "fb:spillway"
LOOK_EVERY_S = 0.5

Gate = Literal["open", "shut"]


class Spillway:
    """Shut while calls to Bedrock fail, and for new jobs while no worker serves its queue.

    A Bedrock worker shuts it for a while when a call shows that further ones would fail too. The
    key carries its own end, so the next call after it is the probe, and nothing stays shut.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._recent = TtlCache(self._look, LOOK_EVERY_S)

    def gate(self) -> Gate:
        """Open or shut for a new job, as of half a second ago, or longer while Redis is away."""
        return self._recent()

    def shut(self, code: str, for_s: float) -> None:
        """Shut it for some seconds; `code` is the error that showed why."""
        with reaching_redis():
            self._redis.set(KEY, code, px=max(1, int(for_s * 1000)))

    def shut_for_s(self) -> float:
        """Seconds until calls may be tried again; 0 while it is open."""
        with reaching_redis():
            left_ms: Any = self._redis.pttl(KEY)
        return max(0.0, float(left_ms)) / 1000

    def _look(self) -> Gate:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(KEY)
            pipe.time()
            pipe.zrange(f"fb:serving:{BEDROCK}", -1, -1, withscores=True)
            broken, (seconds, _), latest = pipe.execute()
        served = bool(latest) and latest[0][1] > seconds * 1000
        return "open" if served and not broken else "shut"
