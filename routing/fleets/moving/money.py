"""Hands over what a tenant has spent, so that its budgets hold in the other fleet."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import redis

from forebay.routing.fleets.moving import copying
from forebay.routing.fleets.moving.draining import open_calls
from forebay.routing.limits.budget import KEEP_DAYS
from forebay.routing.store.connection import clock_of, decoded, reaching_redis

_DAY_S = 86_400
SUMS = ("settled", "reserved", "calls")  # the others are marks: an alert, a refusal


def marker(tenant: str) -> str:
    """Return the key that says which hand-over was the last of a tenant into a fleet."""
    return f"fb:carried:{tenant}"


def hand_over(source: redis.Redis, target: redis.Redis, tenant: str, move: str) -> None:
    """Add what the tenant has spent and reserved, in the hours, days and months that run now.

    The source must not spend meanwhile. All is added in one step, and once for each move, also if
    it is done again.
    """
    with reaching_redis():
        books = {name: _sums(source, name, tenant) for name in _running_books(source)}
        calls = open_calls(source, tenant)
        days = {call.call_id: source.hget(f"fb:spend:call:{call.call_id}", "day") for call in calls}
        records = copying.read(source, [f"fb:spend:call:{call.call_id}" for call in calls])

        def add(pipe: Any) -> None:
            done = pipe.get(marker(tenant))
            pipe.multi()
            if done == move.encode():
                return
            for name, sums in books.items():
                _add_sums(pipe, name, sums, source.ttl(name))
            for key in records:
                _add_call(pipe, key, tenant, books.keys())
                _add_open(pipe, key, days)
            pipe.set(marker(tenant), move, ex=KEEP_DAYS * _DAY_S)

        target.transaction(add, marker(tenant))


def clear(source: redis.Redis, tenant: str) -> None:
    """Remove what was handed over from the fleet that no longer spends for the tenant.

    The sums of the whole fleet stay: it is the fleet that has spent.
    """
    with reaching_redis():
        for name in _running_books(source):
            if sums := _sums(source, name, tenant):
                source.hdel(name, *sums)
        for call in open_calls(source, tenant):
            record = f"fb:spend:call:{call.call_id}"
            day: Any = source.hget(record, "day")
            source.zrem(f"fb:spend:open:{day.decode()}", call.call_id)
            source.delete(record)


def _running_books(client: redis.Redis) -> Iterator[str]:
    """Yield the books of the hours, days and months that run now, by the clock of Redis."""
    now = int(clock_of(client))
    yield f"fb:spend:day:{now // _DAY_S}"
    for page in copying.scan(client, "fb:spend:from:*"):
        for name in page:
            span = re.fullmatch(r"fb:spend:from:(\d+):(\d+)", name)
            if span and int(span[1]) <= now < int(span[2]):
                yield name


def _sums(client: redis.Redis, book: str, tenant: str) -> dict[str, str]:
    """Return the fields of a tenant and of its purposes in a book."""
    stored: Any = client.hgetall(book)
    own = decoded(stored).items()
    return {field: value for field, value in own if field.startswith(f"{tenant}:")}


def _add_sums(pipe: Any, book: str, sums: dict[str, str], ttl_s: Any) -> None:
    for field, value in sums.items():
        if field.rpartition(":")[2] in SUMS:
            pipe.hincrby(book, field, int(value))
        else:
            pipe.hset(book, field, value)
    if sums and ttl_s > 0:
        pipe.expire(book, ttl_s)


def _add_call(
    pipe: Any, key: tuple[str, bytes, int, Any], tenant: str, books: Collection[str]
) -> None:
    """Copy an open call. It is settled in the running books of the tenant; the fleet's stay so."""
    name, kind, ttl_ms, fields = key
    accounts = json.loads(fields.get(b"accounts", b"[]"))
    own = [each for each in accounts if each[0].partition(":")[0] == tenant and each[1] in books]
    copying.add(pipe, name, kind, ttl_ms, {**fields, b"accounts": json.dumps(own)})


def _add_open(pipe: Any, key: tuple[str, bytes, int, Any], days: dict[str, Any]) -> None:
    name, _, _, fields = key
    call_id = name.removeprefix("fb:spend:call:")
    day = int(days[call_id])
    pipe.zadd(f"fb:spend:open:{day}", {call_id: int(fields[b"at"])})
    pipe.expireat(f"fb:spend:open:{day}", (day + KEEP_DAYS) * _DAY_S)
