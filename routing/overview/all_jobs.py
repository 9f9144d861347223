"""The jobs of all tenants, found by filters. Needs a user of Redis that may walk all keys."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from forebay.routing.errors import Misconfigured
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.ledger.record import Record
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.store.connection import clock_of, reaching_redis, text_of

KeyT = TypeVar("KeyT")

MAX_LOOKED_AT = 200_000  # records that one search reads
KEYS_PER_SCAN = 5_000  # that Redis walks in one step, a few milliseconds of its time
RECORDS_PER_READ = 500


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        records: the newest jobs that were found.
        counts: how many jobs were found in all, by tenant, kind, and the code of their last error.
        looked_at: how many records were read.
        complete: false if the search ended at its bound, so that there may be more.
    """

    records: list[Record]
    counts: Counter[tuple[str, str, str]]
    looked_at: int
    complete: bool


def ranked(counts: Mapping[KeyT, int]) -> list[tuple[KeyT, int]]:
    """Return what was counted, the most frequent first, and in alphabetical order among equals."""
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


class AllJobs:
    """Finds jobs of all tenants. A search is bounded, and takes Redis in small steps."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._redis = reader.redis

    def find(self, wanted: JobFilter, *, limit: int = 100, look_at: int = MAX_LOOKED_AT) -> Found:
        """Return the newest jobs that match, among the first `look_at` records.

        Raises:
            Misconfigured: This user of Redis may not walk all keys.
            Unavailable: Redis cannot be reached.
        """
        with for_operators():
            return self._found(self._ids(wanted), wanted, limit, look_at)

    def find_dead(
        self, wanted: JobFilter, *, limit: int = 100, look_at: int = MAX_LOOKED_AT
    ) -> Found:
        """Return the newest dead jobs that were not replayed, of those that match.

        Raises:
            Misconfigured: This user of Redis may not walk all keys, and no tenant is named.
            Unavailable: Redis cannot be reached.
        """
        dead = replace(wanted, states=frozenset({"failed"}))
        with for_operators():
            indices = [f"fb:dead:{wanted.tenant}"] if wanted.tenant else self._keys("fb:dead:*")
            ids = (job_id for index in indices for job_id in self._entries(index))
            return self._found(ids, dead, limit, look_at)

    def _found(self, ids: Iterator[str], wanted: JobFilter, limit: int, look_at: int) -> Found:
        now_ms, looked_at, newest = self.now_ms(), 0, list[Record]()
        counts: Counter[tuple[str, str, str]] = Counter()
        while batch := list(islice(ids, min(RECORDS_PER_READ, look_at - looked_at))):
            looked_at += len(batch)
            records = self._reader.records(batch)
            matching = [record for record in records if wanted.matches(record, now_ms)]
            counts.update(map(_counted, matching))
            newest = heapq.nlargest(limit, newest + matching, key=ended_or_created)
        return Found(newest, counts, looked_at, complete=next(ids, None) is None)

    def now_ms(self) -> int:
        """Return the time by Redis' clock, in Unix milliseconds."""
        with reaching_redis():
            return int(clock_of(self._redis) * 1000)

    def _ids(self, wanted: JobFilter) -> Iterator[str]:
        """Yield the ids of jobs that may match, from the smallest index that holds them all."""
        if wanted.states == {"running"}:
            return self._entries("fb:leases")
        owner = f"{wanted.tenant}." if wanted.tenant else ""
        return (key.removeprefix("fb:job:") for key in self._keys(f"fb:job:{owner}*"))

    def _keys(self, pattern: str) -> Iterator[str]:
        for key in self._redis.scan_iter(match=pattern, count=KEYS_PER_SCAN):
            yield text_of(key)

    def _entries(self, key: str) -> Iterator[str]:
        """Yield the members of a sorted set, those with the largest score first."""
        start = 0
        while page := self._page(key, start):
            yield from map(text_of, page)
            start += len(page)

    def _page(self, key: str, start: int) -> list[Any]:
        page: list[Any] = self._redis.zrevrange(key, start, start + KEYS_PER_SCAN - 1)
        return page


def _counted(record: Record) -> tuple[str, str, str]:
    return record.tenant, record.kind, record.error or ""


def ended_or_created(record: Record) -> int:
    """Return when a job ended, or when it was submitted if it has not."""
    return record.ended or record.created


@contextmanager
def for_operators() -> Iterator[None]:
    """Map the errors of redis-py inside this block; a missing right is told to an operator.

    Raises:
        Misconfigured: This user of Redis may not walk all keys.
        Unavailable: Redis cannot be reached.
    """
    try:
        with reaching_redis():
            yield
    except Misconfigured as error:
        if "NOPERM" not in error.message:
            raise
        hint = "looking at all tenants needs the operator's user of Redis; --tenant names one"
        raise Misconfigured(hint, field="FOREBAY_REDIS_URL") from None
