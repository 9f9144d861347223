"""Read what AWS says of the calls: Bedrock's invocation logs, and a Cost and Usage Report."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.errors import InvalidJob
from forebay.routing.limits.prices import Usage

#: The key under which each call's id goes to Bedrock as metadata of the request.
CALL_KEY = "forebay-call"
MAX_FILE_BYTES = 2_000_000_000

_COST = ("lineItem/UnblendedCost", "line_item_unblended_cost")
_START = ("lineItem/UsageStartDate", "line_item_usage_start_date")
_SERVICE = ("lineItem/ProductCode", "line_item_product_code")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call, as Bedrock logged it.

    Attributes:
        call: the id that the fleet gave to the call; empty if the call has none.
        request: Bedrock's own id of the request.
        failed: Bedrock answered with an error, which costs nothing.
    """

    call: str
    request: str
    at_ms: int
    model: str
    region: str
    tokens: Usage
    failed: bool = False


def read_invocations(path: Path) -> list[Invocation]:
    """Return the calls in a file of Bedrock's invocation log: JSON, or JSON lines, gzipped or not.

    Raises:
        InvalidJob: Names the file and what is wrong with it.
    """
    try:
        found = [_invocation(record) for record in _records(_text(path))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidJob(
            f"{path} is no invocation log of Bedrock: give JSON, one record a line, as Bedrock "
            "writes it to S3 or CloudWatch",
            field="FILE",
        ) from None
    if not found:
        raise InvalidJob(f"{path} is empty", field="FILE")
    return found


def is_cost_report(path: Path) -> bool:
    """Return whether a file is a Cost and Usage Report: CSV with a column of costs."""
    head = _text(path)[:20_000].partition("\n")[0]
    return any(name in head for name in _COST)


def read_cost_report(path: Path) -> dict[str, int]:
    """Return what a Cost and Usage Report bills for Bedrock, in billionths of a dollar by day.

    Raises:
        InvalidJob: Names the file and what is wrong with it.
    """
    days: Counter[str] = Counter()
    try:
        for row in csv.DictReader(_text(path).splitlines()):
            if "bedrock" in _cell(row, _SERVICE).lower():
                days[_cell(row, _START)[:10]] += int(Decimal(_cell(row, _COST) or "0") * NANO)
    except (KeyError, InvalidOperation, csv.Error):
        raise InvalidJob(
            f"{path} is no Cost and Usage Report: it needs the columns {_START[0]}, "
            f"{_SERVICE[0]} and {_COST[0]}, or those of CUR 2.0",
            field="FILE",
        ) from None
    return dict(days)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidJob(f"{path} is larger than {MAX_FILE_BYTES:,} bytes", field="FILE")
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or "it is not whole"
        raise InvalidJob(f"{path} cannot be read: {why}", field="FILE") from None
    except UnicodeDecodeError:
        raise InvalidJob(f"{path} is not text in UTF-8", field="FILE") from None


def _records(text: str) -> Iterator[dict[str, Any]]:
    """Yield the records: one a line, a list, or CloudWatch's export with the record as text."""
    try:
        whole = json.loads(text)
        found = whole if isinstance(whole, list) else [whole]
    except ValueError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    for record in found:
        message = record.get("message") or record.get("@message")
        yield json.loads(message) if isinstance(message, str) else message or record


def _invocation(record: dict[str, Any]) -> Invocation:
    if "modelId" not in record:
        raise KeyError("modelId")
    body = record.get("output", {}).get("outputBodyJson")
    usage = body.get("usage") if isinstance(body, dict) else None
    metadata = record.get("requestMetadata") or {}
    at = datetime.fromisoformat(record["timestamp"]).astimezone(UTC)
    return Invocation(
        call=str(metadata.get(CALL_KEY, "")),
        request=str(record.get("requestId", "")),
        at_ms=int(at.timestamp() * 1_000),
        model=str(record["modelId"]),
        region=str(record.get("region", "")),
        tokens=_of_usage(usage) if isinstance(usage, dict) else _of_counts(record),
        failed=bool(record.get("errorCode")),
    )


def _of_usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("cacheDetails") or []
    hour = sum(part["inputTokens"] for part in details if part.get("ttl") == "1h")
    return Usage(
        input=int(usage.get("inputTokens", 0)),
        output=int(usage.get("outputTokens", 0)),
        cache_read=int(usage.get("cacheReadInputTokens", 0)),
        cache_write_5m=int(usage.get("cacheWriteInputTokens", 0)) - hour,
        cache_write_1h=hour,
    )


def _of_counts(record: dict[str, Any]) -> Usage:
    """Return the counts that a log without bodies has."""
    given, made = record.get("input", {}), record.get("output", {})
    return Usage(
        input=int(given.get("inputTokenCount", 0)),
        output=int(made.get("outputTokenCount", 0)),
        cache_read=int(given.get("cacheReadInputTokenCount", 0)),
        cache_write_5m=int(given.get("cacheWriteInputTokenCount", 0)),
    )


def _cell(row: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return str(row[name] or "")
    raise KeyError(names[0])
