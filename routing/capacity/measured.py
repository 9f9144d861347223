"""The load of a fleet as it was measured: jobs of its busiest hour, service times of its newest."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from forebay.routing.books.job_book import JobBook
from forebay.routing.books.packed_hours import HOUR_S
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.overview.all_jobs import AllJobs
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.reasons import Reason

NEWEST = 2_000  # jobs whose service times are read


@dataclass(frozen=True, slots=True)
class BusiestHour:
    """The hour in which the most jobs ended.

    Attributes:
        start_s: when it began, in Unix seconds.
        rate: jobs in a second, over the hour, or over the part of it that has passed.
    """

    start_s: int
    rate: float


def busiest_hour(book: JobBook, queue: str, since_s: float) -> BusiestHour | None:
    """Return the hour in which a local queue's workers worked the most jobs; `None` if none.

    Those are the jobs that they answered, failed, or sent up to Bedrock. Answers from the cache are
    left out, and so are rows of bulks, which wait in shards, also if they went up.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    now = time.time()
    jobs: Counter[int] = Counter()
    for count in book.read(since_s, now):
        if count.what == "worked" and count.of[-1] == queue:
            jobs[count.hour_s] += count.number
    rates = {hour: number / max(60, min(HOUR_S, now - hour)) for hour, number in jobs.items()}
    if not rates:
        return None
    busiest = max(rates, key=lambda hour: rates[hour])
    return BusiestHour(busiest, rates[busiest])


def service_times(reader: LedgerReader, queue: str) -> list[float]:
    """Return how many seconds each of the newest answered jobs of a queue was worked.

    Answers from the cache and shards of bulks are left out.

    Raises:
        Misconfigured: This user of Redis may not walk all keys.
        Unavailable: Redis cannot be reached.
    """
    wanted = JobFilter(states=frozenset({"done"}), queue=queue)
    records = AllJobs(reader).find(wanted, limit=NEWEST).records
    return [
        record.worked_ms / 1000
        for record in records
        if record.worked_ms > 0 and not record.rows and Reason.CACHED not in record.reasons
    ]
