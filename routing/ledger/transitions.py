"""The Lua scripts of the ledger, run on one Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError

from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import digest, with_scripts
from forebay.routing.store.shared_pipeline import SharedPipeline


class Transitions:
    """Runs the scripts of the ledger. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._execute: Callable[..., Any] = client.execute_command

    def share_round_trips(self) -> None:
        """Have the threads of this process share round trips; not for an event loop."""
        self._execute = SharedPipeline(self._redis).execute

    def run(self, name: str, *args: Any) -> Any:
        """Run a script once, and return its reply.

        Raises:
            Unavailable: Redis cannot be reached or lacks the script, or the script failed.
            Misconfigured: Redis refuses this user.
        """
        with reaching_redis():
            sha = digest(name)
            return with_scripts(self._redis, lambda: self._execute("EVALSHA", sha, 0, *args))

    def run_all(self, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script for each row of arguments, in one round trip, and return the replies.

        The reply of a run that failed is its exception. If Redis has forgotten the script, all rows
        run a second time, so the script must be safe to repeat.

        Raises:
            Unavailable: Redis cannot be reached, or lacks the script.
            Misconfigured: Redis refuses this user.
        """
        sha = digest(name)

        def run_rows() -> list[Any]:
            with self._redis.pipeline(transaction=False) as pipe:
                for args in rows:
                    pipe.execute_command("EVALSHA", sha, 0, *args)  # type: ignore[no-untyped-call]  # redis-py's
                replies = pipe.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, NoScriptError):
                    raise reply
            return replies

        with reaching_redis():
            return with_scripts(self._redis, run_rows)
