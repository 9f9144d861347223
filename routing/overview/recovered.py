"""How often leases ran out of late: workers that died or stalled, whose jobs were given back."""

from __future__ import annotations

from typing import Any

import redis

from forebay.routing.store.connection import clock_of, reaching_redis

MINUTE_S = 60


def leases_recovered(client: redis.Redis, within_s: float = 3600.0) -> int:
    """Return how many leases ran out in the last seconds, at most two hours; whole minutes count.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with reaching_redis():
        now = clock_of(client)
        counts: Any = client.hgetall("fb:recovered")
    since = (now - within_s) // MINUTE_S
    return sum(int(count) for minute, count in counts.items() if int(minute) > since)
