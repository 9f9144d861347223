"""What our connections to Redis do besides what redis-py's do.

They bound the time of a whole reply, read no files, and name their address in errors.
"""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Any

import redis
from redis.connection import DefaultParser
from redis.driver_info import DriverInfo

#: A reply takes at most so many times the time-out of its connection, from its first byte on. For a
#: worker that is a minute, in which the largest value, of 96 MB, comes over a line of 2 MB/s.
TIME_OUTS_PER_REPLY = 4


class BoundedReplies(DefaultParser):  # type: ignore[misc,valid-type] # redis-py names it at run time
    """The parser of a blocking connection, which gives up a reply that takes too long.

    The time-out of a socket starts again with every byte that comes, so it never ends a reply that
    comes one byte a second. The first byte may come as late as the time-out allows: some commands
    wait in Redis. Connections of asyncio limit a whole reply by themselves.
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


@cache
def driver_info() -> DriverInfo:
    """Return what each connection tells Redis of redis-py, which would read its files for each.

    A process without a free file descriptor could not read them: an error that is none of Redis.
    """
    return DriverInfo()


def with_address(base: Any, address: str) -> Any:
    """Return a class of connections whose errors say in a note to which address they belong."""

    class Addressed(base):  # type: ignore[misc]  # the class depends on the URL
        def connect(self) -> None:
            try:
                super().connect()
            except redis.RedisError as error:
                error.add_note(address)
                raise

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except redis.ResponseError as error:
                error.add_note(address)
                raise

    Addressed.__name__ = base.__name__
    return Addressed


def with_address_on_loop(base: Any, address: str) -> Any:
    """Return the same for a class of connections of asyncio."""

    class Addressed(base):  # type: ignore[misc]  # the class depends on the URL
        async def connect(self) -> None:
            try:
                await super().connect()
            except redis.RedisError as error:
                error.add_note(address)
                raise

        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except redis.ResponseError as error:
                error.add_note(address)
                raise

    Addressed.__name__ = base.__name__
    return Addressed
