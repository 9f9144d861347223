"""What is still to be delivered, in Redis: a killed gateway loses none of it.

Keys:  fb:webhooks:due       zset  delivery -> ms at which it is due
       fb:webhook:<delivery> hash  what is to be delivered to which webhook, and how often it failed
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import redis
from redis.exceptions import NoPermissionError

from forebay.producers.gateway.webhooks.webhook import EventType, Webhook
from forebay.routing.ledger.ends import ends_key
from forebay.routing.store.connection import decoded, reaching_redis

DUE = "fb:webhooks:due"
#: Seconds until the next try, after each failed one: 9 tries over about 23 hours.
BACKOFF_S = (5, 30, 120, 600, 1_800, 3_600, 10_800, 64_800)
JITTER = 0.2  # of each wait, so that receivers that come back are not met by all at once
UNDER_WAY_S = 60.0  # after which a delivery that was begun is tried again: its gateway died
KEEP_S = 3 * 86_400
MAX_ENDS_TAKEN = 500
MAX_ENDS_BYTES = 256 * 1024 * 1024  # of all ends that wait; more is no list of ends
MAX_ENTRY = 2**64 - 1  # of each half of the id of an entry


@dataclass(frozen=True, slots=True)
class End:
    """An end that a tenant's webhooks are to be told of.

    Attributes:
        entry: its place in the stream of ends.
        id: the id of what has ended.
        state: how it ended.
        what: `job`, `bulk` or `batch`.
    """

    entry: str
    id: str
    state: str
    what: str

    @property
    def at(self) -> int:
        """When it ended, in seconds since 1970."""
        return int(self.entry.partition("-")[0]) // 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that is to be delivered to a webhook.

    Attributes:
        id: the same each time it is tried.
        tenant, webhook: whose webhook it is, and its id.
        type: the type of the event.
        about: the id of what has ended.
        state: how it ended.
        at: when it ended, in seconds since 1970.
        event: the id of the event, by which a receiver recognises it.
        tries: failed tries so far.
    """

    id: str
    tenant: str
    webhook: str
    type: EventType
    about: str
    state: str
    at: int
    event: str
    tries: int = 0


def delivery_of(end: End, kind: EventType, webhook: Webhook) -> Delivery:
    """Return the delivery of an end to a webhook: the same, if the end is taken twice."""
    again = end.entry if end.what == "bulk" else ""  # a retry ends a bulk once more
    event = hashlib.blake2b(f"{end.id} {kind} {again}".encode(), digest_size=16).hexdigest()
    name = hashlib.blake2b(f"{event} {webhook.id}".encode(), digest_size=16).hexdigest()
    return Delivery(
        name, webhook.tenant, webhook.id, kind, end.id, end.state, end.at, f"evt_{event}"
    )


class Deliveries:
    """The deliveries on one Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def ends(self, tenant: str) -> list[End]:
        """Return ends of a tenant that no delivery was made of, the oldest first.

        The tenant's own user of Redis may have written more, which is dropped if it fills memory.
        """
        key = ends_key(tenant)
        with reaching_redis():
            with suppress(NoPermissionError):  # of a user that an earlier release made
                if (self._redis.memory_usage(key) or 0) > MAX_ENDS_BYTES:
                    self._redis.delete(key)
            entries: Any = self._redis.xrange(key, count=MAX_ENDS_TAKEN)
        found = []
        for entry, stored in entries:
            named = decoded(stored)
            own_id, state = named.get("id", ""), named.get("state", "")
            found.append(End(entry.decode(), own_id, state, named.get("what", "job")))
        return found

    def make(self, tenant: str, end: End, deliveries: list[Delivery]) -> None:
        """Store the deliveries of an end in place of the end, all in one step."""
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            for each in deliveries:
                pipe.hset(f"fb:webhook:{each.id}", mapping=cast("Any", asdict(each)))
                pipe.expire(f"fb:webhook:{each.id}", KEEP_S)
                pipe.zadd(DUE, {each.id: time.time() * 1000})
            pipe.xtrim(ends_key(tenant), minid=_after(end.entry), approximate=False)
            pipe.execute()

    def due(self, limit: int) -> list[Delivery]:
        """Return deliveries that are due, the longest due first."""
        with reaching_redis():
            names: Any = self._redis.zrangebyscore(DUE, "-inf", time.time() * 1000, 0, limit)
        return [found for name in names if (found := self._found(name.decode()))]

    def begin(self, delivery: Delivery, wait_s: float = UNDER_WAY_S) -> None:
        """Put a delivery off while it is tried."""
        with reaching_redis():
            self._redis.zadd(DUE, {delivery.id: (time.time() + wait_s) * 1000}, xx=True)

    def end(self, delivery: Delivery) -> None:
        """Forget a delivery: it was made, or given up."""
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(DUE, delivery.id)
            pipe.delete(f"fb:webhook:{delivery.id}")
            pipe.execute()

    def again(self, delivery: Delivery) -> bool:
        """Try a failed delivery again later; return `False` if it was the last try."""
        if delivery.tries >= len(BACKOFF_S):
            self.end(delivery)
            return False
        wait_s = BACKOFF_S[delivery.tries] * random.uniform(1 - JITTER, 1 + JITTER)
        with reaching_redis(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(f"fb:webhook:{delivery.id}", "tries", str(delivery.tries + 1))
            pipe.zadd(DUE, {delivery.id: (time.time() + wait_s) * 1000})
            pipe.execute()
        return True

    def _found(self, name: str) -> Delivery | None:
        with reaching_redis():
            stored: Any = self._redis.hgetall(f"fb:webhook:{name}")
        given = decoded(stored)
        try:
            numbers = {"at": int(given["at"]), "tries": int(given["tries"])}
            return Delivery(**{each.name: given[each.name] for each in fields(Delivery)} | numbers)  # type: ignore[arg-type]  # as it was stored
        except (KeyError, ValueError):
            with reaching_redis():
                self._redis.zrem(DUE, name)
            return None


def _after(entry: str) -> str:
    """Return the least id of an entry that comes after this one."""
    ms, number = map(int, entry.split("-"))
    return f"{ms}-{number + 1}" if number < MAX_ENTRY else f"{min(ms + 1, MAX_ENTRY)}-0"
