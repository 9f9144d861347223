"""The result of an ended job: its answer or the receipt of its failure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from forebay.routing.errors import CallerError, ForebayError, InvalidJob, Lost, Misconfigured
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.packing import pack, unpack
from forebay.routing.ledger.record import ENDED, Record
from forebay.routing.receipts import JobState
from forebay.routing.store.connection import error_of
from forebay.routing.store.encryption import Seal

Result = Answer | Receipt | InvalidJob | Misconfigured

MAX_BYTES_PER_RUN = 256 * 1024  # of answers that one run of the script stores, unless one is larger


def settling(
    results: Sequence[tuple[Claim, Answer | Receipt]], seal: Seal
) -> Iterator[list[str | bytes]]:
    """Yield the arguments of `settle.lua`, those of several jobs for each run of the script."""
    run: list[str | bytes] = []
    room = MAX_BYTES_PER_RUN
    for claim, result in results:
        sealed = seal.close(pack(result.content)) if isinstance(result, Answer) else b""
        if run and len(sealed) > room:
            yield run
            run, room = [], MAX_BYTES_PER_RUN
        receipt = result.model_dump_json(exclude={"content"})
        run += [claim.id, claim.token, result.status, receipt, sealed, result.error or ""]
        room -= len(sealed)
    if run:
        yield run


def end_of(reply: Any) -> JobState | Lost | ForebayError:
    """Return the state that `settle.lua` replied for a job, or why it was not settled."""
    if reply is None:
        return Lost()
    if isinstance(reply, Exception):
        return error_of(reply)
    state: JobState = reply.decode()
    return state


def read_result(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Result | None:
    """Return the answer of a job or the receipt of its failure; `None` if it has not ended.

    An unreadable result is returned as an error, not raised, so that one damaged job does not hide
    the results of the jobs that were read with it.

    Args:
        job_id: the job's id.
        fields: the hash of the record; empty if there is no such job.
        sealed: the stored answer, if there is one.
        seal: opens the answer.
    """
    try:
        return _read(job_id, fields, sealed, seal)
    except Misconfigured as error:
        return error
    except (ValueError, TypeError, RecursionError, CallerError):
        return InvalidJob("the stored answer cannot be read")


def _read(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Answer | Receipt | None:
    if not fields:
        return None
    record = Record.read(job_id, fields)
    if record.state not in ENDED:
        return None
    fields_of_receipt = record.of_receipt()
    if fields_of_receipt.get("status") != "done" or sealed is None:
        return record.to_receipt()
    stored = _stored(seal.open(sealed), promoted=record.promoted)
    if record.promoted:  # a draft is stored as a whole answer, not as its content alone
        return Answer.model_validate(
            {**stored, **_promotion(record, stored), **record.known()}, extra="ignore"
        )
    return Answer.model_validate({**fields_of_receipt, "content": stored}, extra="ignore")


def _stored(content: bytes, *, promoted: bool) -> Any:
    return json.loads(content) if promoted else unpack(content)


def _promotion(record: Record, draft: dict[str, Any]) -> dict[str, Any]:
    """Return what changes in a draft that becomes the answer because the job failed."""
    reasons = (*record.reasons, record.error or "failed")
    return {"reasons": reasons, "degraded": draft.get("lane") != "bedrock" or draft["degraded"]}
