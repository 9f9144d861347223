"""The records of batches in Redis. Each writer sets fields of its own, so none overwrites another.

Keys:  fb:batch:<id>                    hash  `terms`, `store`, `created`, and the fields of `Batch`
       fb:batches:<tenant>:<family>     zset  id -> when it was made
       fb:batches:open                  zset  id of a batch that has not ended -> when it was made
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, fields
from typing import Any, cast

import redis

from forebay.producers.gateway.batches.batch import Batch, Family, Terms
from forebay.routing.errors import NotFound
from forebay.routing.store.connection import decoded, reaching_redis
from forebay.routing.store.scripts import set_fields

KEEP_S = 30 * 86_400  # how long a batch is remembered
OPEN = "fb:batches:open"
MAX_OPEN_LOOKED_AT = 10_000
_TYPES = {field.name: str(field.type) for field in fields(Batch)}


class BatchStore:
    """The batches and bulks of all tenants. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def new_id(self, tenant: str) -> str:
        """Return an id for a new batch."""
        return f"{tenant}.{secrets.token_hex(16)}"

    def create(self, batch_id: str, store: str, terms: Terms) -> Batch:
        """Record a batch, which a gateway then takes."""
        batch = Batch(id=batch_id, store=store, created=time.time(), terms=terms)
        listed = f"fb:batches:{batch.tenant}:{terms.family}"
        stored = {"store": store, "created": batch.created, "terms": json.dumps(asdict(terms))}
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(f"fb:batch:{batch_id}", mapping=cast("Any", stored))
            pipe.expire(f"fb:batch:{batch_id}", KEEP_S)
            pipe.zadd(listed, {batch_id: batch.created})
            pipe.zremrangebyscore(listed, "-inf", batch.created - KEEP_S)
            pipe.expire(listed, KEEP_S)
            pipe.zadd(OPEN, {batch_id: batch.created})
            pipe.execute()
        return batch

    def update(self, batch_id: str, **values: Any) -> None:
        """Set fields of a batch that is known."""
        stored = {name: _stored(value) for name, value in values.items()}
        with reaching_redis():
            set_fields(self._redis, f"fb:batch:{batch_id}", "created", stored)

    def find(self, batch_id: str) -> Batch | None:
        """Return a batch, or `None` if it is not known or its record is damaged."""
        with reaching_redis():
            stored: Any = self._redis.hgetall(f"fb:batch:{batch_id}")
        try:
            return _read(batch_id, decoded(stored)) if stored else None
        except (ValueError, KeyError, TypeError):
            return None

    def get(self, batch_id: str, family: Family) -> Batch:
        """Return a batch of this family.

        Raises:
            NotFound: There is none.
        """
        batch = self.find(batch_id)
        if batch is None or batch.terms.family != family:
            what = "bulk" if family == "bulk" else "batch"
            raise NotFound(f"there is no such {what} of this tenant", field=f"{what}_id")
        return batch

    def ids(self, tenant: str, family: Family) -> list[str]:
        """Return the ids of a tenant's batches, the newest first."""
        with reaching_redis():
            found: Any = self._redis.zrevrange(f"fb:batches:{tenant}:{family}", 0, -1)
        return [batch_id.decode() for batch_id in found]

    def open(self) -> list[str]:
        """Return the ids of the batches of all tenants that have not ended, the oldest first."""
        with reaching_redis():
            found: Any = self._redis.zrange(OPEN, 0, MAX_OPEN_LOOKED_AT - 1)
        return [batch_id.decode() for batch_id in found]

    def cancel(self, batch: Batch) -> Batch:
        """Ask the gateway that works a batch to end it; return the batch as it is now."""
        if not batch.ended and not batch.cancelling_at:
            self.update(batch.id, cancelling_at=time.time())
        return self.find(batch.id) or batch

    def close(self, batch_id: str) -> None:
        """Note that nothing is left to do for a batch."""
        with reaching_redis():
            self._redis.zrem(OPEN, batch_id)

    def delete(self, batch: Batch) -> None:
        """Forget a batch."""
        with reaching_redis():
            self._redis.zrem(f"fb:batches:{batch.tenant}:{batch.terms.family}", batch.id)
            self._redis.delete(f"fb:batch:{batch.id}")


def _stored(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(batch_id: str, stored: dict[str, str]) -> Batch:
    terms = Terms(**json.loads(stored.pop("terms")))
    values: dict[str, Any] = {
        name: value if _TYPES[name] == "str" else json.loads(value)
        for name, value in stored.items()
        if name in _TYPES
    }
    return Batch(id=batch_id, terms=terms, **values)
