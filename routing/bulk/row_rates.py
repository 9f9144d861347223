"""How fast rows were answered lately, so that a new bulk can be told how long it will take."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import redis

from forebay.routing.base import Kind
from forebay.routing.store.connection import reaching_redis

SPAN_S = 10  # rows are counted in spans of this length
GAP_S = 120.0  # a longer pause between two counted spans was idle time
MAX_SPANS = 360  # of one kind that are kept, of all pools and models together
KEEP_S = 7 * 86_400  # after the last row of a kind


@dataclass(frozen=True, slots=True)
class RowRate:
    """How fast one model in one queue answered rows of a kind, while there were any.

    Attributes:
        queue: the queue of the local lane, such as `local.default`.
        model: the model that answered.
        rows_per_s: rows a second, of all workers together.
        last: when it answered last, in Unix seconds.
    """

    queue: str
    model: str
    rows_per_s: float
    last: float


class RowRates:
    """The rates of one fleet. Safe to share between threads.

    They are kept in `fb:rates:<kind>`: a hash, `<queue> <span> <model>` -> rows.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def note(self, kind: Kind, queue: str, model: str, rows: int) -> None:
        """Count rows that were answered just now.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        key, span = f"fb:rates:{kind}", int(time.time()) // SPAN_S
        with reaching_redis(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, f"{queue} {span} {model}", rows)
            pipe.expire(key, KEEP_S)
            pipe.hlen(key)
            *_, spans = pipe.execute()
        if spans > MAX_SPANS:
            self._drop_oldest(key)

    def latest(self, kind: Kind) -> RowRate | None:
        """Return the rate of the queue and model that answered such rows last; `None` if unknown.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with reaching_redis():
            counted: Any = self._redis.hgetall(f"fb:rates:{kind}")
        spans: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for name, rows in counted.items():
            queue, span, model = _parts(name)
            spans[queue, model].append((span, int(rows)))
        rates = [_rate(queue, model, each) for (queue, model), each in spans.items()]
        return max(rates, key=lambda rate: rate.last, default=None)

    def _drop_oldest(self, key: str) -> None:
        """Drop a quarter of the spans, so that this is seldom done."""
        with reaching_redis():
            names: Any = self._redis.hkeys(key)
            oldest = sorted(names, key=lambda name: _parts(name)[1])[: MAX_SPANS // 4]
            if oldest:
                self._redis.hdel(key, *oldest)


def _parts(name: bytes) -> tuple[str, int, str]:
    queue, span, model = name.decode().split(" ", 2)
    return queue, int(span), model


def _rate(queue: str, model: str, spans: list[tuple[int, int]]) -> RowRate:
    """Return rows by seconds, without the seconds in which nothing was to be done."""
    spans.sort()
    busy_s = float(SPAN_S)
    for (before, _), (span, _) in pairwise(spans):
        pause_s = float((span - before) * SPAN_S)
        busy_s += pause_s if pause_s <= GAP_S else SPAN_S
    rows = sum(rows for _, rows in spans)
    return RowRate(queue, model, rows / busy_s, spans[-1][0] * SPAN_S)
