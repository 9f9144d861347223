"""A Redis client for blocking code on an event loop: redis-py's commands, redis.asyncio's waits."""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

import redis
import redis.asyncio

from forebay.routing.store.event_loop import wait_for

MAX_CONNECTIONS = 16  # commands under way at once on one event loop; more wait for their turn


class LoopRedis(redis.Redis):
    """A blocking client over one of redis.asyncio. Its methods may be called on the loop only.

    Every command of redis-py ends in `execute_command`, which waits for the other client. So code
    that was written for a blocking client runs unchanged (see `event_loop.run_blocking`).
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        # The base class would open a pool of its own.
        self.connection = None
        self.connection_pool = cast("Any", client.connection_pool)
        self._client = client
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command, and return its reply."""
        return wait_for(self._in_turn(self._client.execute_command, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:  # noqa: FBT001, FBT002 - the interface of redis-py
        """Return a pipeline, which collects commands and runs them in one round trip."""
        return _LoopPipeline(self, self._client.pipeline(transaction, shard_hint))

    def close(self) -> None:
        """Do nothing: whoever made the other client closes it."""

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
