"""The dead letters that the page lists: always the newest, and counted by code now and then.

Counting reads the record of every dead job, so a snapshot does it only every 15 seconds. What has
failed or was replayed since then is added or taken off here.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.ledger.record import Record
from forebay.routing.store.connection import reaching_redis

MAX_LISTED = 25


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead jobs that were not replayed.

    Attributes:
        newest: the newest of them.
        total: how many there are.
        counts: how many there are by tenant, kind and code.
    """

    newest: tuple[Record, ...]
    total: int
    counts: Counter[tuple[str, str, str]]

    @staticmethod
    def note(record: Record) -> str:
        """Return what failed, in our own words; the record alone may tell of an earlier attempt."""
        try:
            receipt = record.to_receipt()
        except InvalidJob as error:
            return error.message
        return ": ".join(filter(None, (receipt.error_field, receipt.error_note)))

    @property
    def by_code(self) -> list[tuple[str, int]]:
        """How many there are of each code, the most frequent first."""
        codes: Counter[str] = Counter()
        for (_, _, code), number in self.counts.items():
            codes[code] += number
        return codes.most_common()


def read_dead_letters(
    reader: LedgerReader,
    tenants: Collection[str],
    listed: Collection[Record],
    counts: Counter[tuple[str, str, str]],
) -> DeadLetters:
    """Return the dead letters of these tenants as they are now.

    Args:
        reader: reads the records.
        tenants: whose dead letters.
        listed: the newest dead jobs when all were counted last.
        counts: what was counted then.
    """
    total, ids = _indexed(reader, tenants)
    earlier = {record.id: record for record in listed}
    records = {record.id: record for record in reader.records([*{*ids, *earlier}])}
    newest = [records[job_id] for job_id in ids if job_id in records and _is_dead(records[job_id])]
    counted_at = max((record.ended for record in listed), default=0)
    changed = counts.copy()
    changed.update(_key(job) for job in newest if job.id not in earlier and job.ended > counted_at)
    gone = (job for job_id, job in earlier.items() if not _is_dead(records.get(job_id)))
    changed.subtract(_key(job) for job in gone)
    return DeadLetters(tuple(newest), total, +changed)


def _indexed(reader: LedgerReader, tenants: Collection[str]) -> tuple[int, list[str]]:
    """Return how many dead letters these tenants have, and the ids of the newest."""
    with reaching_redis(), reader.redis.pipeline(transaction=False) as pipe:
        for tenant in tenants:
            pipe.zcard(f"fb:dead:{tenant}")
            pipe.zrevrange(f"fb:dead:{tenant}", 0, MAX_LISTED - 1, withscores=True)
        replies: list[Any] = pipe.execute()
    entries = [entry for page in replies[1::2] for entry in page]
    newest = heapq.nlargest(MAX_LISTED, entries, key=lambda entry: entry[1])
    return sum(replies[::2]), [job_id.decode("utf-8", "replace") for job_id, _ in newest]


def _is_dead(record: Record | None) -> bool:
    return record is not None and record.state == "failed" and not record.replayed_as


def _key(record: Record) -> tuple[str, str, str]:
    return record.id.partition(".")[0], record.kind, record.error or ""
