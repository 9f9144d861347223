"""The jobs of a batch as they are stored; no worker holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.store.connection import reaching_redis

MAX_CONTENT_BYTES = 4_000_000  # of a job in a batch; a hundred are in memory at once

T = TypeVar("T")


def parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most so many items."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def waiting_jobs(ledger: Ledger, batch_id: str, job_ids: Sequence[str]) -> dict[str, Claim]:
    """Return those of the jobs that the batch still has, in two round trips.

    Each is a claim without a token, which gives no right to write. A worker may hold such a job for
    a moment, until it sees that the batch has it. What is longer than `MAX_CONTENT_BYTES` comes cut
    off and cannot be opened: such a job is called by itself.
    """
    records = [
        record
        for record in ledger.records(job_ids)
        if record.batch == batch_id and record.state not in ENDED
    ]
    with reaching_redis(), ledger.redis.pipeline(transaction=False) as pipe:
        for record in records:
            for family in ("content", "draft"):
                pipe.getrange(f"fb:{family}:{record.id}", 0, MAX_CONTENT_BYTES)
        replies = pipe.execute(raise_on_error=False)  # of a key to which a tenant gave another type
    contents = [reply if isinstance(reply, bytes) else b"" for reply in replies]
    rows = zip(records, contents[::2], contents[1::2], strict=True)
    return {
        record.id: Claim(record.id, "", record, sealed, draft, ledger.seal)
        for record, sealed, draft in rows
    }


def call_id(batch_id: str, record_id: str) -> str:
    """Return the id of the call of a record: the same whoever writes or reads the batch."""
    return hashlib.sha256(f"{batch_id} {record_id}".encode()).hexdigest()[:32]
