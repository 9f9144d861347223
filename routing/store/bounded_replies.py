"""A time limit of a whole reply of Redis.

The time-out of a socket starts again with every byte that comes, so it never ends a reply that
comes one byte a second. Clients of asyncio limit a whole reply by themselves.
"""

from __future__ import annotations

import math
import time
from typing import Any

import redis
from redis.connection import DefaultParser

#: A reply takes at most so many times the time-out of its connection, from its first byte on. For a
#: worker that is a minute, in which the largest value, of 96 MB, comes over a line of 2 MB/s.
TIME_OUTS_PER_REPLY = 4


class BoundedReplies(DefaultParser):  # type: ignore[misc,valid-type] # redis-py names it at run time
    """The parser of a blocking connection, which gives up a reply that takes too long.

    The first byte may come as late as the time-out allows: some commands wait in Redis.
    """

    def on_connect(self, connection: Any, **options: Any) -> None:
        """Begin to read the replies of a connection."""
        super().on_connect(connection, **options)
        self._limit_s = TIME_OUTS_PER_REPLY * (connection.socket_timeout or math.inf)
        self._until = math.inf

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Return the next reply.

        Raises:
            redis.TimeoutError: Nothing came in time, or the reply as a whole takes too long.
        """
        self._until = math.inf
        return super().read_response(*args, **options)

    def read_from_socket(self, *args: Any, **options: Any) -> bool:
        """Wait for more bytes of the reply, and return whether any came."""
        if time.monotonic() > self._until:
            raise redis.TimeoutError("the reply takes too long")
        came = bool(super().read_from_socket(*args, **options))
        self._until = min(self._until, time.monotonic() + self._limit_s)
        return came
