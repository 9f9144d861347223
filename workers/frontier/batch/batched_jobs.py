"""The jobs of a batch as they are stored; no worker holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from forebay.routing.errors import InvalidJob
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED, Record
from forebay.routing.store.connection import reaching_redis

T = TypeVar("T")


def parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most so many items."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def waiting_jobs(ledger: Ledger, batch_id: str, job_ids: Sequence[str]) -> dict[str, Claim]:
    """Return those of the jobs that the batch still has, in one round trip.

    Each is a claim without a token, which gives no right to write. A worker may hold such a job for
    a moment, until it sees that the batch has it.
    """
    with reaching_redis(), ledger.redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hgetall(f"fb:job:{job_id}")
            pipe.get(f"fb:content:{job_id}")
            pipe.get(f"fb:draft:{job_id}")
        replies = pipe.execute(raise_on_error=False)  # of a key to which a tenant gave another type
    rows = zip(job_ids, replies[::3], replies[1::3], replies[2::3], strict=True)
    found = (_claim(ledger, *row) for row in rows)
    return {
        claim.id: claim
        for claim in found
        if claim and claim.record.batch == batch_id and claim.record.state not in ENDED
    }


def call_id(batch_id: str, record_id: str) -> str:
    """Return the id of the call of a record: the same whoever writes or reads the batch."""
    return hashlib.sha256(f"{batch_id} {record_id}".encode()).hexdigest()[:32]


def _claim(ledger: Ledger, job_id: str, fields: Any, *contents: Any) -> Claim | None:
    try:
        record = Record.read(job_id, fields if isinstance(fields, dict) else {})
    except InvalidJob:  # it is forgotten, or its record is damaged
        return None
    sealed, draft = (each if isinstance(each, bytes) else b"" for each in contents)
    return Claim(job_id, "", record, sealed, draft, ledger.seal)
