"""Copies of keys from one Redis to another, with the time that they have left.

The commands of each type are used, and not DUMP, whose form depends on the version of Redis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import redis

KEYS_PER_SCAN = 5_000  # that Redis walks in one step, a few milliseconds of its time
KEYS_PER_READ = 200


def scan(client: redis.Redis, pattern: str) -> Iterator[list[str]]:
    """Yield the names of the keys that match, some hundreds at a time."""
    names = (name.decode() for name in client.scan_iter(match=pattern, count=KEYS_PER_SCAN))
    yield from _pages(names)


def copy(
    source: redis.Redis, target: redis.Redis, names: Sequence[str], *, replace: bool = True
) -> None:
    """Copy keys. A key that the source does not have is left as it is.

    Args:
        source: where they are.
        target: where they are written, all in one step.
        names: the keys.
        replace: write a key that is there already; otherwise it stays as it is.
    """
    found = read(source, names)
    if not replace:
        with target.pipeline(transaction=False) as pipe:
            for name, *_ in found:
                pipe.exists(name)
            found = [key for key, there in zip(found, pipe.execute(), strict=True) if not there]
    with target.pipeline(transaction=True) as pipe:
        for key in found:
            add(pipe, *key)
        pipe.execute()


def read(client: redis.Redis, names: Sequence[str]) -> list[tuple[str, bytes, int, Any]]:
    """Return the name, type, time to live (ms) and value of each key that is there."""
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
            pipe.pttl(name)
        replies = pipe.execute()
    there = [
        (name, kind, ttl)
        for name, kind, ttl in zip(names, replies[::2], replies[1::2], strict=True)
        if kind != b"none"
    ]
    with client.pipeline(transaction=False) as pipe:
        for name, kind, _ in there:
            _read(pipe, name, kind)
        values = pipe.execute()
    # A key that ended between the two looks has no value.
    return [(*key, value) for key, value in zip(there, values, strict=True) if value]


def add(pipe: Any, name: str, kind: bytes, ttl_ms: int, value: Any) -> None:
    """Have a pipeline write a key as `read` returned it, in place of what is there."""
    pipe.delete(name)
    match kind:
        case b"string":
            pipe.set(name, value)
        case b"hash":
            pipe.hset(name, mapping=value)
        case b"zset":
            pipe.zadd(name, dict(value))
        case b"set":
            pipe.sadd(name, *value)
        case b"stream":
            for entry, fields in value:
                pipe.xadd(name, fields, id=entry)
    if ttl_ms > 0:
        pipe.pexpire(name, ttl_ms)


def unlink(client: redis.Redis, names: Sequence[str]) -> None:
    """Remove keys."""
    for page in _pages(iter(names)):
        client.unlink(*page)


def _read(pipe: Any, name: str, kind: bytes) -> None:
    if kind == b"zset":
        pipe.zrange(name, 0, -1, withscores=True)
    elif kind == b"stream":
        pipe.xrange(name)
    elif kind == b"hash":
        pipe.hgetall(name)
    elif kind == b"set":
        pipe.smembers(name)
    else:
        pipe.get(name)


def _pages(names: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(names, KEYS_PER_READ)):
        yield page
