"""The circuit breaker of Bedrock, shared by all workers in one Redis key."""

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
    """The way to Bedrock. Beware of the words: a *shut* spillway is an *open* circuit breaker.

    1. A bedrock worker shuts it for some seconds if a call shows that further calls would fail.
    2. The key expires by itself. The next call after that is the probe, so nothing stays shut.
    3. For new jobs it is also shut while no worker serves the bedrock queue.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._cached_gate = TtlCache(self._read_gate, LOOK_EVERY_S)

    def gate(self) -> Gate:
        """Return the gate for new jobs, at most half a second old; older if Redis is away."""
        return self._cached_gate()

    def shut(self, code: str, for_s: float) -> None:
        """Shut the spillway for some seconds; `code` is the code of the error that was seen."""
        with reaching_redis():
            self._redis.set(KEY, code, px=max(1, int(for_s * 1000)))

    def shut_for_s(self) -> float:
        """Return the seconds until calls may be tried again; 0 while the spillway is open."""
        with reaching_redis():
            left_ms: Any = self._redis.pttl(KEY)
        return max(0.0, float(left_ms)) / 1000

    def _read_gate(self) -> Gate:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(KEY)
            pipe.time()
            pipe.zrange(f"fb:serving:{BEDROCK}", -1, -1, withscores=True)
            broken, (seconds, _), latest = pipe.execute()
        served = bool(latest) and latest[0][1] > seconds * 1000
        return "open" if served and not broken else "shut"
