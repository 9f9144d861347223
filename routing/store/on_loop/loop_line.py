"""One kept connection of redis.asyncio, over which commands are sent as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import redis
import redis.asyncio


class LoopLine:
    """Runs the commands of many tasks of an event loop over one connection.

    A client takes a connection from its pool for each command, tests and returns it, and limits the
    time of each of its steps. That costs more than the command itself. Here a command is written at
    once, and one task reads the replies, which come in the order of the commands. The first error
    closes the connection; the next command opens another.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool = client.connection_pool
        self._reply_s = self._pool.connection_kwargs.get("socket_timeout")
        self._test_s = self._pool.connection_kwargs.get("health_check_interval")
        self._heard_at = 0.0  # when the last reply came, by the event loop's clock
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._waiting: deque[asyncio.Future[Any]] = deque()  # for replies, in their order

    @property
    def idle(self) -> bool:
        """True if no command waits for its reply, or for the connection."""
        return not (self._waiting or self._opening.locked())

    async def open(self) -> None:
        """Open the connection unless it is open and lives; raise what redis.asyncio does."""
        if self._connection is not None and not self._long_silent():
            return
        async with self._opening:
            if self._connection is not None and self._long_silent():
                await self._test()
            if self._connection is None:
                await self._connect()

    async def execute(self, *command: Any) -> Any:
        """Run a command over the connection, which is open, and return its reply.

        Raises:
            ConnectionError: The connection was lost. Redis may have run the command.
            ReadOnlyError: Redis is not the primary any more.
            TimeoutError: Redis did not answer in time.
            ResponseError: Redis refused the command.
        """
        try:
            async with asyncio.timeout(self._reply_s):
                return await self._reply(command)
        except TimeoutError:
            await self._lose(redis.ConnectionError("a command before had no reply in time"))
            raise redis.TimeoutError(f"no reply within {self._reply_s} s") from None

    async def close(self) -> None:
        """Close the connection; commands that wait for replies fail."""
        await self._lose(redis.ConnectionError("the connection was closed"))

    async def _connect(self) -> None:
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        connection.socket_timeout, connection.health_check_interval = None, 0  # done here
        self._connection, self._heard_at = connection, asyncio.get_running_loop().time()
        self._reader = asyncio.create_task(self._read(connection), name="redis-replies")

    def _long_silent(self) -> bool:
        """Return whether the connection may be dead: it was not used for long."""
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        return bool(self._test_s and silent_s > self._test_s and not self._waiting)

    async def _test(self) -> None:
        """Close the connection unless Redis answers over it."""
        try:
            await self.execute("PING")
        except redis.RedisError:
            await self.close()

    async def _reply(self, command: tuple[Any, ...]) -> Any:
        connection = self._connection
        if connection is None or not connection.is_connected:
            raise redis.ConnectionError("the connection was lost")
        packed = connection.pack_command(*command)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(reply)  # no other task runs until the command is written
        await connection.send_packed_command(packed)
        return await reply

    async def _read(self, connection: Any) -> None:
        """Give each reply to the command that waits longest, until the connection is lost."""
        try:
            while True:
                reply = await _next_reply(connection)
                self._heard_at = asyncio.get_running_loop().time()
                _deliver(self._waiting.popleft(), reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, each command that waits raises it
            if connection is self._connection:
                await self._lose(error)

    async def _lose(self, error: Exception) -> None:
        """Close the connection, and fail the commands that wait for replies."""
        connection, self._connection = self._connection, None
        waiting, self._waiting = self._waiting, deque()
        for reply in waiting:
            _deliver(reply, error)
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _next_reply(connection: Any) -> Any:
    """Return the next reply; an error in its place, unless it ends the connection."""
    try:
        return await connection.read_response(disconnect_on_error=False)
    except redis.ReadOnlyError:
        raise
    except redis.ResponseError as error:
        return error


def _deliver(future: asyncio.Future[Any], reply: Any) -> None:
    """Give a command its reply, if its task still waits for it."""
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
