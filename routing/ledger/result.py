"""What became of a job, as its record and its sealed answer tell it."""

from __future__ import annotations

import json
from typing import Any

from forebay.routing.errors import CallerError, InvalidJob, Misconfigured
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.ledger.record import ENDED, Record
from forebay.routing.store.encryption import Seal

Result = Answer | Receipt | InvalidJob | Misconfigured


def result_of(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Result | None:
    """The answer, or the receipt of a failure; none while it has not ended.

    An error takes the place of one that cannot be read, so that one such job spoils no other's.
    """
    try:
        return _outcome(job_id, fields, sealed, seal)
    except Misconfigured as error:
        return error
    except (ValueError, TypeError, RecursionError, CallerError):
        return InvalidJob("the stored answer cannot be read")


def _outcome(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Answer | Receipt | None:
    if not fields:
        return None
    record = Record.read(job_id, fields)
    if record.state not in ENDED:
        return None
    receipt = record.to_receipt()
    if receipt.status != "done" or sealed is None:
        return receipt
    stored = json.loads(seal.open(sealed))
    if record.promoted:  # a draft is a whole answer
        return Answer.model_validate({**stored, **_last_resort(record, stored), **record.known()})
    return Answer.model_validate({**receipt.model_dump(), "content": stored})


def _last_resort(record: Record, draft: dict[str, Any]) -> dict[str, Any]:
    """What a draft says as an answer: why there was no better one; a local one is second best."""
    reasons = (*record.reasons, record.error or "failed")
    return {"reasons": reasons, "degraded": draft.get("lane") != "bedrock" or draft["degraded"]}
