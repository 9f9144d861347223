"""The ends of jobs, bulks and batches that are to be told to the webhooks of their tenant.

The ledger's scripts write the ends of jobs to the same stream.
"""

from __future__ import annotations

import redis

from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.scripts import run


def listening_key(tenant: str) -> str:
    """Return the key that exists as long as the tenant has webhooks."""
    return f"fb:watchers:{tenant}.:webhooks"


def ends_key(tenant: str) -> str:
    """Return the key of the stream of what has ended."""
    return f"fb:wake:{tenant}:webhooks"


def tell_end(client: redis.Redis, own_id: str, state: str, *, what: str) -> None:
    """Write the end of a bulk or a batch to the stream, if its tenant has webhooks.

    Args:
        client: the fleet's Redis.
        own_id: the id of what has ended; it begins with the tenant's name.
        state: how it ended.
        what: `bulk` or `batch`.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with reaching_redis():
        run(client, "tell_end", own_id, state, what)
