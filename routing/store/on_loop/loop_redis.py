"""A Redis client for blocking code on an event loop: redis-py's commands, redis.asyncio's waits."""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

import redis
import redis.asyncio

from forebay.routing.store.event_loop import wait_for
from forebay.routing.store.on_loop.loop_line import LoopLine

MAX_CONNECTIONS = 16  # commands under way at once on one event loop; more wait for their turn
#: Most of what is sent: scripts and reads, whose replies come at once; and waiting for a stream.
ON_LINE, ON_WAITING_LINE = frozenset({"EVALSHA", "GET", "MGET"}), frozenset({"XREAD"})


class LoopRedis(redis.Redis):
    """A blocking client over one of redis.asyncio. Its methods may be called on the loop only.

    Every command of redis-py ends in `execute_command`, which waits for the other client. So code
    that was written for a blocking client runs unchanged (see `event_loop.run_blocking`). The
    commands that are sent most go over kept connections.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        # The base class would open a pool of its own.
        self.connection = None
        self.connection_pool = cast("Any", client.connection_pool)
        self._client = client
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._line, self._waiting_line = LoopLine(client), LoopLine(client)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command, and return its reply."""
        line = self._line_for(args[0])
        if line is not None:
            return wait_for(self._on_line(line, *args, **options))
        return wait_for(self._in_turn(self._client.execute_command, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:  # noqa: FBT001, FBT002 - the interface of redis-py
        """Return a pipeline, which collects commands and runs them in one round trip."""
        return _LoopPipeline(self, self._client.pipeline(transaction, shard_hint))

    def close(self) -> None:
        """Do nothing: whoever made the other client closes it, and awaits `close_lines`."""

    async def close_lines(self) -> None:
        """Close the kept connections."""
        await self._line.close()
        await self._waiting_line.close()

    def _line_for(self, name: str) -> LoopLine | None:
        """Return the kept connection for a command, unless another one may block it there."""
        if name in ON_LINE:
            return self._line
        return self._waiting_line if name in ON_WAITING_LINE and self._waiting_line.idle else None

    async def _on_line(self, line: LoopLine, *args: Any, **options: Any) -> Any:
        """Run a command over a kept connection; if that is lost, over another, as the client does.

        The client connects again, with patience, and finds a new primary.
        """
        await line.open()  # an error here is final: the client would not reach Redis either
        try:
            reply = await line.execute(*args)
        except (redis.ConnectionError, redis.ReadOnlyError):
            return await self._in_turn(self._client.execute_command, *args, **options)
        read = self._client.response_callbacks.get(args[0])
        return reply if read is None else read(reply)

    async def _in_turn(self, call: Any, *args: Any, **options: Any) -> Any:
        async with self._free:
            return await call(*args, **options)


class _LoopPipeline(LoopRedis):
    """Commands that run together, in the order in which they were added."""

    def __init__(self, client: LoopRedis, pipeline: redis.asyncio.client.Pipeline) -> None:
        self.connection = None
        self.connection_pool = client.connection_pool
        self._pipeline, self._in_turn = pipeline, client._in_turn  # type: ignore[method-assign]  # noqa: SLF001 - the same turns

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command."""
        self._pipeline.pipeline_execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the interface of redis-py
        """Run the commands, and return their replies."""
        return wait_for(self._in_turn(self._pipeline.execute, raise_on_error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: a pipeline without a transaction holds no connection between its calls."""
