"""Whether the spillway to Bedrock is open: a breaker that all workers share, in one Redis key."""

from __future__ import annotations

import time
from typing import Any, Literal

import redis

from routing.connection import reaching_redis
from routing.lanes import BEDROCK

KEY = "fb:spillway"
LOOK_EVERY_S = 0.5

Gate = Literal["open", "shut"]


class Spillway:
    """Shut while Bedrock fails, and while no worker serves its queue.

    The Bedrock workers shut it for a while when a call shows that further ones would fail too, and
    open it with the first that succeeds. The key carries its own end, so it can never stay shut.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._seen: Gate = "shut"
        self._until = 0.0

    def gate(self) -> Gate:
        """Open or shut, as of at most half a second ago."""
        if time.monotonic() >= self._until:
            self._seen = self._look()
            self._until = time.monotonic() + LOOK_EVERY_S
        return self._seen

    def shut(self, code: str, for_s: float) -> None:
        """Shut it for some seconds; `code` is the error that showed why."""
        with reaching_redis():
            self._redis.set(KEY, code, px=max(1, int(for_s * 1000)))

    def open(self) -> None:
        """A call succeeded."""
        with reaching_redis():
            self._redis.delete(KEY)

    def why(self) -> str | None:
        """The code it was shut with; none while no breaker holds it."""
        with reaching_redis():
            code: Any = self._redis.get(KEY)
        return code.decode() if code else None

    def _look(self) -> Gate:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            now_ms = int(time.time() * 1000)
            pipe.exists(KEY)
            pipe.zcount(f"fb:serving:{BEDROCK}", now_ms, "+inf")
            broken, serving = pipe.execute()
        return "open" if serving and not broken else "shut"
