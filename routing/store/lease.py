"""A lease: one process at a time does a piece of work, and another takes over if it dies."""

from __future__ import annotations

import secrets
import time

import redis

from forebay.routing.errors import ForebayError
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run

LEASE_S = 15.0  # after which the work of a process that died is taken over


class Lease:
    """The hold of this process on a piece of work. It must be renewed well within `LEASE_S`."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis = client
        self._name, self._token = name, secrets.token_hex(8)
        self._held_at = float("-inf")

    def hold(self) -> bool:
        """Take or renew the lease; return `False` if another process has it.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        now = time.monotonic()
        held = self._run(int(LEASE_S * 1000))
        self._held_at = now if held else float("-inf")
        return held

    def still(self) -> bool:
        """Renew the lease, and return whether this process has it still.

        Without Redis it has, as long as nobody else can have taken it.
        """
        try:
            return self.hold()
        except ForebayError:
            return time.monotonic() - self._held_at < LEASE_S / 2

    def release(self) -> None:
        """Let another process take the work at once."""
        self._run(0)

    def _run(self, ms: int) -> bool:
        with reaching_redis():
            return bool(run(self._redis, "lease", self._name, self._token, ms))
