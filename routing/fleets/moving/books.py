"""Carries what belongs to a tenant besides its jobs: bulks, batches, webhooks, API keys, pauses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import redis

from forebay.routing.fleets.moving import copying
from forebay.routing.ledger.ends import ends_key, listening_key
from forebay.routing.store.connection import reaching_redis

ENDS_PER_READ = 500
KEYS, OPEN, WEBHOOKS, DUE, PAUSED = (
    "fb:keys", "fb:batches:open", "fb:webhooks", "fb:webhooks:due", "fb:paused",
)  # fmt: skip


def carry_webhooks(source: redis.Redis, target: redis.Redis, tenant: str) -> None:
    """Copy the webhooks, and whether an operator has paused the tenant."""
    with reaching_redis():
        copying.copy(source, target, [f"{WEBHOOKS}:{tenant}", listening_key(tenant)])
        if source.sismember(WEBHOOKS, tenant):
            target.sadd(WEBHOOKS, tenant)
        paused: Any = source.hget(PAUSED, f"tenant:{tenant}")
        if paused:
            target.hset(PAUSED, f"tenant:{tenant}", paused)


def carry(source: redis.Redis, target: redis.Redis, tenant: str) -> None:
    """Copy all of it. Doing it again changes nothing."""
    carry_webhooks(source, target, tenant)
    with reaching_redis():
        for name in _own_keys(source, tenant):
            copying.copy(source, target, [name])
        if keys := _api_keys(source, tenant):
            target.hset(KEYS, mapping=keys)
            copying.copy(source, target, [f"fb:rate:{key.decode()}" for key in keys])
        if opened := _open_batches(source, tenant):
            target.zadd(OPEN, opened)
        _carry_deliveries(source, target, tenant)
        _carry_ends(source, target, tenant)


def clear(source: redis.Redis, tenant: str) -> None:
    """Remove all of it."""
    with reaching_redis():
        copying.unlink(source, list(_own_keys(source, tenant)))
        copying.unlink(source, [f"{WEBHOOKS}:{tenant}", listening_key(tenant), ends_key(tenant)])
        source.srem(WEBHOOKS, tenant)
        source.hdel(PAUSED, f"tenant:{tenant}")
        for name in _deliveries(source, tenant):
            source.zrem(DUE, name)
            source.delete(f"fb:webhook:{name}")
        if keys := _api_keys(source, tenant):
            source.hdel(KEYS, *keys)
            copying.unlink(source, [f"fb:rate:{key.decode()}" for key in keys])
        if opened := _open_batches(source, tenant):
            source.zrem(OPEN, *opened)


def _own_keys(client: redis.Redis, tenant: str) -> Iterator[str]:
    """Yield the keys of bulks, of the gateway's batches and of its stored completions."""
    yield f"fb:bulks:{tenant}"
    yield f"fb:completions:{tenant}"
    for pattern in (f"fb:bulk:{tenant}.*", f"fb:batch:{tenant}.*", f"fb:batches:{tenant}:*"):
        for page in copying.scan(client, pattern):
            yield from page


def _api_keys(client: redis.Redis, tenant: str) -> dict[Any, Any]:
    stored: Any = client.hgetall(KEYS)
    return {key: text for key, text in stored.items() if _tenant_of(text) == tenant}


def _tenant_of(record: bytes) -> str | None:
    try:
        return str(json.loads(record)["tenant"])
    except (ValueError, KeyError, TypeError):  # damaged: it lets nobody in
        return None


def _open_batches(client: redis.Redis, tenant: str) -> dict[bytes, float]:
    members: Any = client.zrange(OPEN, 0, -1, withscores=True)
    return {name: at for name, at in members if name.startswith(f"{tenant}.".encode())}


def _deliveries(client: redis.Redis, tenant: str) -> dict[str, float]:
    """Return the deliveries to webhooks that are due, and when."""
    members: Any = client.zrange(DUE, 0, -1, withscores=True)
    with client.pipeline(transaction=False) as pipe:
        for name, _ in members:
            pipe.hget(f"fb:webhook:{name.decode()}", "tenant")
        owners = pipe.execute()
    due = zip(members, owners, strict=True)
    return {name.decode(): at for (name, at), owner in due if owner == tenant.encode()}


def _carry_deliveries(source: redis.Redis, target: redis.Redis, tenant: str) -> None:
    due = _deliveries(source, tenant)
    copying.copy(source, target, [f"fb:webhook:{name}" for name in due])
    if due:
        target.zadd(DUE, due)


def _carry_ends(source: redis.Redis, target: redis.Redis, tenant: str) -> None:
    """Move the ends that no delivery was made of behind those of the target.

    A move that is interrupted tells of some ends twice; receivers know an event by its id.
    """
    name = ends_key(tenant)
    while entries := cast("Any", source.xrange(name, count=ENDS_PER_READ)):
        with target.pipeline(transaction=True) as pipe:
            for _, fields in entries:
                pipe.xadd(name, fields)
            pipe.execute()
        source.xdel(name, *(entry for entry, _ in entries))
