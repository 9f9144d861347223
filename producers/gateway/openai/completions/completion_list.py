"""The list of a tenant's stored chat completions, in Redis.

Key:  fb:completions:<tenant>  zset  id of a completion's first job, without the tenant -> ms when
      it was stored
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from forebay.routing.store.connection import reaching_redis

MAX_LISTED = 10_000  # of a tenant, the newest; older ones can still be retrieved
_ID = re.compile(r"[0-9a-f]{32}")


class CompletionList:
    """Lists the stored completions of all tenants. Safe to share between threads.

    Args:
        client: of the Redis of the tenants' home.
        keep_s: how long after the last completion the list is kept: no completion outlives it.
    """

    def __init__(self, client: redis.Redis, keep_s: float) -> None:
        self._redis, self._keep_s = client, keep_s

    def add(self, job_id: str, stored_ms: int) -> None:
        """Add a completion, by the id of its first job. One that is listed stays where it is."""
        tenant, _, name = job_id.partition(".")
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(_key(tenant), {name: stored_ms}, nx=True)
            pipe.zremrangebyrank(_key(tenant), 0, -MAX_LISTED - 1)
            pipe.expire(_key(tenant), int(self._keep_s) + 1)
            pipe.execute()

    def job_ids(self, tenant: str) -> list[str]:
        """Return the ids of the first jobs of a tenant's completions, the oldest first."""
        with reaching_redis():
            members: Any = self._redis.zrange(_key(tenant), 0, -1)
        names = (member.decode(errors="replace") for member in members)
        return [f"{tenant}.{name}" for name in names if _ID.fullmatch(name)]

    def remove(self, tenant: str, job_ids: Sequence[str]) -> None:
        """Remove completions from the list."""
        if job_ids:
            with reaching_redis():
                names = (job_id.partition(".")[2] for job_id in job_ids)
                self._redis.zrem(_key(tenant), *names)


def _key(tenant: str) -> str:
    return f"fb:completions:{tenant}"
