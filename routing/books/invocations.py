"""Read Bedrock's invocation logs: what the service itself says of each call."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.routing.limits.prices import Usage

#: The key under which each call's id goes to Bedrock as metadata of the request.
CALL_KEY = "forebay-call"
#: Of one file, also once it is unpacked.
MAX_FILE_BYTES = 2_000_000_000

#: Parts of ARNs that do not tell which model is behind them.
_OPAQUE = re.compile(r":(application-inference-profile|provisioned-model)/")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call, as Bedrock logged it.

    Attributes:
        call: the id that the fleet gave to the call; empty if the call has none.
        request: Bedrock's own id of the request.
        at_ms: when it was made; 0 for a record of a batch, whose results do not say it.
        model: the id or the ARN that was called; empty for a record of a batch.
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

    A file of results of a batch (`.jsonl.out`) is read as well.

    Raises:
        InvalidJob: Names the file and what is wrong with it.
    """
    try:
        found = [_invocation(record) for record in _records(read_text(path))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InvalidJob(
            f"{path} is no invocation log of Bedrock: give JSON, one record a line, as Bedrock "
            "writes it to S3 or CloudWatch",
            field="FILE",
        ) from None
    if not found:
        raise InvalidJob(f"{path} is empty", field="FILE")
    return found


def distinct(invocations: Iterable[Invocation]) -> list[Invocation]:
    """Return the calls, each request once: S3 and CloudWatch may deliver a record twice."""
    found = {(one.call, one.request or at): one for at, one in enumerate(invocations)}
    return list(found.values())


def same_model(called: str, logged: str) -> bool:
    """Return whether a logged id or ARN can be that of the model that was called.

    Bedrock logs an inference profile by its ARN, or the model that it led to; what is behind an
    application inference profile cannot be told.
    """
    if not logged or _OPAQUE.search(called) or _OPAQUE.search(logged):
        return True
    one, other = called.rpartition("/")[2], logged.rpartition("/")[2]
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def read_text(path: Path) -> str:
    """Return the text of a file, gzipped or not.

    Raises:
        InvalidJob: Names the file and what is wrong with it.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidJob(f"{path} is larger than {MAX_FILE_BYTES:,} bytes", field="FILE")
        data = path.read_bytes()
        return (_unpacked(data, path) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "it is not whole"
        raise InvalidJob(f"{path} cannot be read: {why}", field="FILE") from None
    except UnicodeDecodeError:
        raise InvalidJob(f"{path} is not text in UTF-8", field="FILE") from None


def _unpacked(data: bytes, path: Path) -> bytes:
    """Return what gzip packed; the service appends several packed parts to one file."""
    found = bytearray()
    while data:
        part = zlib.decompressobj(wbits=31)
        found += part.decompress(data, MAX_FILE_BYTES - len(found) + 1)
        if len(found) > MAX_FILE_BYTES:
            raise InvalidJob(f"{path} unpacks to more than {MAX_FILE_BYTES:,} bytes", field="FILE")
        if not part.eof:
            raise EOFError
        data = part.unused_data
    return bytes(found)


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
    if "recordId" in record and "modelId" not in record:
        return _of_batch(record)
    output = record.get("output") or {}
    usage = _usage_of(output.get("outputBodyJson"))
    at = datetime.fromisoformat(record["timestamp"])
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Invocation(
        call=str((record.get("requestMetadata") or {}).get(CALL_KEY, "")),
        request=str(record.get("requestId") or ""),
        at_ms=int(at.timestamp() * 1_000),
        model=str(record["modelId"]),
        region=str(record.get("region") or ""),
        tokens=_of_usage(usage) if usage else _of_counts(record.get("input") or {}, output),
        failed=bool(record.get("errorCode")),
    )


def _of_batch(record: dict[str, Any]) -> Invocation:
    """Read a line of the results of a batch, which holds what was asked beside the answer."""
    asked, usage = record.get("modelInput") or {}, _usage_of(record.get("modelOutput"))
    call = str((asked.get("requestMetadata") or {}).get(CALL_KEY, ""))
    tokens = _of_usage(usage) if usage else Usage()
    return Invocation(call, str(record["recordId"]), 0, "", "", tokens, failed=not usage)


def _usage_of(body: Any) -> dict[str, Any] | None:
    """Return the usage in a body, or in the last event of a stream that has one."""
    events = body if isinstance(body, list) else [body]
    for event in reversed(events):
        if not isinstance(event, dict):
            continue
        usage = event.get("usage") or (event.get("metadata") or {}).get("usage")
        if isinstance(usage, dict):
            return usage
    return None


def _of_usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("cacheDetails") or []
    hour = sum(_count(part, "inputTokens") for part in details if part.get("ttl") == "1h")
    return Usage(
        input=_count(usage, "inputTokens"),
        output=_count(usage, "outputTokens"),
        cache_read=_count(usage, "cacheReadInputTokens"),
        cache_write_5m=_count(usage, "cacheWriteInputTokens") - hour,
        cache_write_1h=hour,
    )


def _of_counts(given: dict[str, Any], made: dict[str, Any]) -> Usage:
    """Return the counts that a log without bodies has."""
    return Usage(
        input=_count(given, "inputTokenCount"),
        output=_count(made, "outputTokenCount"),
        cache_read=_count(given, "cacheReadInputTokenCount"),
        cache_write_5m=_count(given, "cacheWriteInputTokenCount"),
    )


def _count(fields: dict[str, Any], name: str) -> int:
    """Return a count; 0 if it is missing. Raise ValueError for a number that no count can be."""
    count = fields.get(name)
    if count is None:
        return 0
    if type(count) is not int or count < 0:
        raise ValueError(name)
    return count
