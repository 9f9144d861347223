"""What became of a job, as its record and its sealed answer tell it."""

from __future__ import annotations

from routing.content import Seal
from routing.errors import CallerError, InvalidJob, Misconfigured
from routing.jobs import Answer, Receipt
from routing.record import ENDED, Record

Outcome = Answer | Receipt | InvalidJob | Misconfigured


def outcome(
    job_id: str, fields: dict[bytes, bytes], sealed: bytes | None, seal: Seal
) -> Outcome | None:
    """The answer, or the receipt of a failure; none while it has not ended.

    An error takes the place of one that cannot be read, so that one such job spoils no other's.
    """
    try:
        return _outcome(job_id, fields, sealed, seal)
    except Misconfigured as error:
        return error
    except (ValueError, TypeError, CallerError):
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
    head = receipt.model_dump_json(exclude={"cost_usd"}).removesuffix("}")
    return Answer.model_validate_json(f'{head},"content":{seal.open(sealed).decode()}}}')
