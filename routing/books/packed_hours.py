"""Packs hours of the book of jobs that have passed, as what is kept for a month is seldom read.

An hour in which thousands of tenants have jobs takes 2 MB as a hash, and a tenth of it packed.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import redis

from forebay.routing.store.connection import clock_of, decoded, reaching_redis

HOUR_S = 3_600
PACK_AFTER_S = 2 * 86_400  # nobody adds to an hour as old as that


def hour_key(hour_s: int) -> str:
    """Return the key of the counts of an hour that begins then."""
    return f"fb:books:jobs:{hour_s}"


def packed_key(hour_s: int) -> str:
    """Return the key of the packed counts of an hour that begins then."""
    return f"fb:books:jobs:packed:{hour_s}"


def unpacked(counts: Mapping[bytes, bytes], packed: bytes | None) -> Counter[str]:
    """Return the counts of an hour, of which some or all may be packed."""
    found = Counter({name: int(number) for name, number in decoded(counts).items()})
    found.update(json.loads(zlib.decompress(packed)) if packed else {})
    return found


class PackedHours:
    """Packs the hours of one Redis, one in each call."""

    def __init__(self, client: redis.Redis, days: int) -> None:
        self._redis, self._keep_s = client, days * 86_400
        self._from = 0  # older hours are packed, or had no jobs

    def pack(self) -> bool:
        """Pack the oldest hour that is to be packed; return whether there was one.

        Raises:
            Unavailable: Redis cannot be reached, or has no memory for it now.
        """
        with reaching_redis():
            now_s = int(clock_of(self._redis))
            first = max(self._from, now_s - self._keep_s) // HOUR_S * HOUR_S
            hours = range(first, now_s - PACK_AFTER_S - HOUR_S, HOUR_S)
            pipe = self._redis.pipeline(transaction=False)
            for hour in hours:
                pipe.exists(hour_key(hour))
            there = [hour for hour, found in zip(hours, pipe.execute(), strict=True) if found]
            if there:
                self._pack(there[0])
        self._from = there[0] if there else max(self._from, hours.stop)
        return bool(there)

    def _pack(self, hour: int) -> None:
        """Replace the counts of an hour by packed ones, unless somebody adds to them meanwhile."""
        with self._redis.pipeline() as pipe:
            pipe.watch(hour_key(hour), packed_key(hour))  # type: ignore[no-untyped-call]
            counts: Any = pipe.hgetall(hour_key(hour))
            before: Any = pipe.get(packed_key(hour))
            text = json.dumps(unpacked(counts, before), separators=(",", ":"))
            pipe.multi()
            pipe.set(packed_key(hour), zlib.compress(text.encode()), exat=hour + self._keep_s)
            pipe.delete(hour_key(hour))
            try:
                pipe.execute()
            except redis.WatchError:  # the next call does it
                return
