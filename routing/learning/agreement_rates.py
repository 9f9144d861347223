"""Agreement rates: how often the answers of two local models agree on a tenant's jobs.

Nobody has to know the right answers to count this, and it tells much: models that agree often are
often right. Workers count each second opinion, and write the counts to Redis every few seconds.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from time import monotonic
from typing import Any

import redis

from forebay.routing.base import Kind
from forebay.routing.errors import Unavailable
from forebay.routing.store.connection import reaching_redis
from forebay.routing.store.ttl_cache import TtlCache

#: Shrinkage: the assumed rate counts as much as so many second opinions.
SHRINKAGE = 20
#: How long the rates of a tenant are cached, and how often new counts are written.
LOOK_EVERY_S = 5.0
KEEP_DAYS = 90
#: Pairs of models that are kept for a tenant; agreement with further pairs is not counted.
MAX_PAIRS = 200


class AgreementRates:
    """The mean agreement by tenant, kind and pair of models. Safe to share between threads.

    If Redis cannot be reached, the last rates are used, and counts wait for the next write.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._sums = TtlCache(self._read, LOOK_EVERY_S)
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._written = monotonic()

    def rate(self, tenant: str, kind: Kind, model: str, second: str, usual: float) -> float:
        """Return the mean agreement; with few second opinions it is close to `usual`."""
        try:
            number, total = self._sums(tenant).get(_name(kind, model, second), (0.0, 0.0))
        except Unavailable:
            return usual
        return (total + SHRINKAGE * usual) / (number + SHRINKAGE)

    def count(self, tenant: str, kind: Kind, model: str, second: str, agreement: float) -> None:
        """Count one second opinion. Counts of the last seconds are lost if the process dies."""
        with self._lock:
            sums = self._counted[tenant, _name(kind, model, second)]
            sums[0], sums[1] = sums[0] + 1, sums[1] + agreement
            if monotonic() - self._written < LOOK_EVERY_S:
                return
            self._written, counted = monotonic(), dict(self._counted)
            self._counted.clear()
        try:
            self._write(counted)
        except Unavailable:
            self._keep(counted)

    def _write(self, counted: dict[tuple[str, str], list[float]]) -> None:
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            for (tenant, name), (number, total) in counted.items():
                if len(self._sums(tenant)) >= MAX_PAIRS and name not in self._sums(tenant):
                    continue
                pipe.hincrbyfloat(_key(tenant), f"{name} n", number)
                pipe.hincrbyfloat(_key(tenant), f"{name} sum", total)
                pipe.expire(_key(tenant), KEEP_DAYS * 86_400)
            pipe.execute()

    def _keep(self, counted: dict[tuple[str, str], list[float]]) -> None:
        with self._lock:
            for key, (number, total) in counted.items():
                sums = self._counted[key]
                sums[0], sums[1] = sums[0] + number, sums[1] + total

    def _read(self, tenant: str) -> dict[str, tuple[float, float]]:
        with reaching_redis():
            values: Any = self._redis.hgetall(_key(tenant))
        numbers = {name.decode(): _number(value) for name, value in values.items()}
        pairs = [name.removesuffix(" n") for name in numbers if name.endswith(" n")]
        return {pair: (numbers[f"{pair} n"], numbers.get(f"{pair} sum", 0.0)) for pair in pairs}


def _key(tenant: str) -> str:
    return f"fb:agreements:{tenant}"


def _name(kind: Kind, model: str, second: str) -> str:
    return f"{kind} {model} {second}"


def _number(value: bytes) -> float:
    try:
        return max(0.0, float(value))
    except ValueError:  # another program wrote it
        return 0.0
