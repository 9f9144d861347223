"""A Redis client that passes each command on to the client of the right fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis


class FollowingRedis(redis.Redis):
    """A client without connections of its own.

    Every command of redis-py ends in `execute_command` or in a pipeline, which ask for the client
    of this moment. So code that was written for one Redis follows a tenant to another.
    """

    def __init__(self, current: Callable[[], redis.Redis], close: Callable[[], None]) -> None:
        """Follow the client that `current` returns; `close` closes all such clients."""
        # The base class would open a pool of its own.
        self.connection = None
        self._current, self._close = current, close

    @property
    def connection_pool(self) -> Any:  # type: ignore[override]  # an attribute in the base class
        """The pool of the client of this moment."""
        return self._current().connection_pool

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command, and return its reply."""
        return self._current().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Any:  # noqa: FBT002 - the interface of redis-py
        """Return a pipeline to the client of this moment."""
        return self._current().pipeline(transaction, shard_hint)

    def close(self) -> None:
        """Close the clients of all fleets."""
        self._close()
