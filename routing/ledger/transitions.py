"""The Lua scripts of the ledger, registered with one Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import transition

NAMES = (
    "create", "claim", "renew", "route", "escalate", "settle", "retry", "cancel", "forget",
    "watch", "position", "sweep",
)  # fmt: skip


class Transitions:
    """Runs the scripts of the ledger. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts: dict[str, Script] = {
            name: client.register_script(transition(name)) for name in NAMES
        }

    def run(self, name: str, *args: Any) -> Any:
        """Run a script once, and return its reply.

        Raises:
            Unavailable: Redis cannot be reached, or the script failed.
            Misconfigured: Redis refuses this user.
        """
        with reaching_redis():
            return self._scripts[name](args=args)

    def run_all(self, name: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script for each row of arguments, in one round trip, and return the replies.

        The reply of a run that failed is its exception. If Redis has forgotten the script, all rows
        run a second time, so the script must be safe to repeat.

        Raises:
            Unavailable: Redis cannot be reached.
            Misconfigured: Redis refuses this user.
        """
        script = self._scripts[name]
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            for _ in range(2):
                for args in rows:
                    pipe.evalsha(script.sha, 0, *args)
                replies = pipe.execute(raise_on_error=False)
                if not any(isinstance(reply, NoScriptError) for reply in replies):
                    break
                self._redis.script_load(script.script)
        return replies
