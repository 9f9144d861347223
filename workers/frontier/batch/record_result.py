"""One line of the results of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forebay.workers.frontier.responses.response_json import read_object


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What became of one record.

    Attributes:
        record_id: names the record.
        body: the body of a response of Converse; `None` if the record failed.
        failed: the service names an error in place of a response, and bills nothing.
    """

    record_id: str
    body: dict[str, Any] | None = field(repr=False)
    failed: bool = False


def read_result(line: bytes) -> RecordResult | None:
    """Return the result in a line; `None` if nothing can be learned from it."""
    fields = read_object(line)
    if fields is None or not isinstance(fields.get("recordId"), str):
        return None
    body = fields.get("modelOutput")
    usable = isinstance(body, dict) and bool({"output", "usage"} & body.keys())
    failed = not usable and isinstance(fields.get("error"), dict)
    return RecordResult(fields["recordId"], body if usable else None, failed)
