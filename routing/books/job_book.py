"""The book of jobs: what the jobs of each hour came to, in counts that outlive their records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import redis

from forebay.routing.books import job_history
from forebay.routing.books.job_counts import of_all_tenants, without_tenant
from forebay.routing.books.packed_hours import HOUR_S, hour_key, packed_key, unpacked
from forebay.routing.store.connection import clock_of, reaching_redis

#: Counts of one hour. Past it, tenants that are new in this hour are counted together.
MAX_FIELDS = 20_000
_READ_AT_ONCE = 200


class Count(NamedTuple):
    """One count of an hour: what was counted, of whom, and how often.

    Attributes:
        hour_s: when the hour began, in Unix seconds.
        what: `job`, `up` (why jobs went up), `worked` (in which local queue, rows of bulks left
            out), `check` (that failed), or `audit`.
        of: the values by which it was counted.
        number: the count.
    """

    hour_s: int
    what: str
    of: tuple[Any, ...]
    number: int


class JobBook:
    """Counts the jobs of one Redis: in detail by hour, and the fleet as a whole by minute."""

    def __init__(self, client: redis.Redis, days: int = 35) -> None:
        self._redis = client
        self._keep_s = days * 86_400

    def add(self, counts: Mapping[str, int], at_s: float | None = None) -> None:
        """Add counts to an hour of the book and to a minute of the history (`History`).

        Args:
            counts: by the names that `job_counts.py` gives.
            at_s: a moment of that hour and minute; now, by Redis' clock, if it is `None`.

        Raises:
            Unavailable: Redis cannot be reached. Some may have been added.
        """
        with reaching_redis():
            seconds = int(clock_of(self._redis) if at_s is None else at_s)
            hour = seconds // HOUR_S * HOUR_S
            key = hour_key(hour)
            full = int(self._redis.hlen(key)) > MAX_FIELDS
            pipe = self._redis.pipeline(transaction=False)
            for name, number in counts.items():
                pipe.hincrby(key, without_tenant(name) if full else name, number)
            pipe.expireat(key, hour + self._keep_s)
            job_history.add(pipe, of_all_tenants(counts), seconds)
            pipe.execute()

    def read(self, since_s: float, until_s: float) -> Iterator[Count]:
        """Yield the counts of all hours that lie in a span of time, wholly or in part.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        hours = range(int(since_s) // HOUR_S * HOUR_S, int(until_s) + 1, HOUR_S)
        hours = hours[-self._keep_s // HOUR_S - 1 :]
        for start in range(0, len(hours), _READ_AT_ONCE):
            page = hours[start : start + _READ_AT_ONCE]
            with reaching_redis():
                pipe = self._redis.pipeline(transaction=False)
                for hour in page:
                    pipe.hgetall(hour_key(hour))
                    pipe.get(packed_key(hour))
                books = iter(pipe.execute())
            for hour, counts, packed in zip(page, books, books, strict=True):
                for name, number in sorted(unpacked(counts, packed).items()):
                    what, *of = json.loads(name)
                    yield Count(hour, what, tuple(of), number)
