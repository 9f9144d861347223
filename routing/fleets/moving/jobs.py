"""Carries the ended jobs of a tenant: records, answers, dead letters and idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from forebay.routing.fleets.moving import copying
from forebay.routing.store.connection import reaching_redis

PREFIX = "fb:job:"
BESIDE = ("fb:content:", "fb:answer:", "fb:draft:", "fb:asked:")
#: What a job leaves behind that is not carried: the answer cache is the fleet's own.
LEFT = ("fb:cached:", "fb:watchers:")


def carry(source: redis.Redis, target: redis.Redis, tenant: str) -> int:
    """Copy the jobs that the target does not have, and then their keys; return how many.

    A job and all that belongs to it come at once, so that whoever finds its record there finds its
    answer. A job that is there already is left as it is: its dead letter may have been replayed.
    """
    copied = 0
    with reaching_redis():
        for page in copying.scan(source, f"{PREFIX}{tenant}.*"):
            copied += _carry_page(source, target, [name.removeprefix(PREFIX) for name in page])
        for page in copying.scan(source, f"fb:idempotency:{tenant}:*"):
            copying.copy(source, target, page, replace=False)
    return copied


def clear(source: redis.Redis, tenant: str) -> None:
    """Remove what was carried, and what is not: cached answers and counts."""
    with reaching_redis():
        for page in copying.scan(source, f"{PREFIX}{tenant}.*"):
            ids = [name.removeprefix(PREFIX) for name in page]
            beside = [prefix + job_id for job_id in ids for prefix in (*BESIDE, *LEFT)]
            copying.unlink(source, [*beside, *page])
        for pattern in ("idempotency", "cache", "stream"):
            for page in copying.scan(source, f"fb:{pattern}:{tenant}:*"):
                copying.unlink(source, page)
        copying.unlink(source, [f"fb:{name}:{tenant}" for name in ("dead", "held", "promised")])


def _carry_page(source: redis.Redis, target: redis.Redis, job_ids: Sequence[str]) -> int:
    with target.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.exists(PREFIX + job_id)
        there = pipe.execute()
    missing = [job_id for job_id, known in zip(job_ids, there, strict=True) if not known]
    if not missing:
        return 0
    _write(source, target, missing)
    _remove_forgotten(source, target, missing)
    return len(missing)


def _write(source: redis.Redis, target: redis.Redis, job_ids: Sequence[str]) -> None:
    tenant = job_ids[0].partition(".")[0]
    names = [prefix + job_id for job_id in job_ids for prefix in (PREFIX, *BESIDE)]
    with source.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.zscore(f"fb:dead:{tenant}", job_id)
        died = pipe.execute()
    dead = {job_id: at for job_id, at in zip(job_ids, died, strict=True) if at is not None}
    found = copying.read(source, names)
    with target.pipeline(transaction=True) as pipe:
        for key in found:
            copying.add(pipe, *key)
        if dead:
            pipe.zadd(f"fb:dead:{tenant}", dead)
        pipe.incrby(f"fb:held:{tenant}", sum(map(_bytes, found)))
        pipe.execute()


def _bytes(key: tuple[str, bytes, int, Any]) -> int:
    """Return the bytes that a job takes, if the key is a record."""
    name, kind, _, value = key
    text = value.get(b"bytes", b"0") if name.startswith(PREFIX) and kind == b"hash" else b"0"
    return int(text) if text.isdigit() else 0


def _remove_forgotten(source: redis.Redis, target: redis.Redis, job_ids: Sequence[str]) -> None:
    """Remove the copies of jobs that somebody has forgotten while they were copied."""
    with source.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.exists(PREFIX + job_id)
        there = pipe.execute()
    gone = [job_id for job_id, known in zip(job_ids, there, strict=True) if not known]
    copying.unlink(target, [prefix + job_id for job_id in gone for prefix in (PREFIX, *BESIDE)])
