"""A call to a frontier model as a row: for a file, for a terminal, and several summed up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forebay.routing.errors import counted

if TYPE_CHECKING:
    from forebay.routing.books.call_book import CallRecord

HEADER = ("CALL", "AT", "JOB", "MODEL", "STATE", "IN", "OUT", "DOLLARS")
COLUMNS = (
    "entry", "id", "state", "job", "tenant", "purpose", "at", "model", "region", "tier",
    "tokens_in", "tokens_out", "cache_read", "cache_write_5m", "cache_write_1h", "prices",
    "reserved_nusd", "settled_nusd", "estimated", "mock",
)  # fmt: skip


def row(call: CallRecord) -> dict[str, Any]:
    """Return a call under `COLUMNS`."""
    tokens = call.tokens
    return {
        "entry": call.entry, "id": call.id, "state": call.state, "job": call.job,
        "tenant": call.tenant, "purpose": call.purpose, "at": iso(call.at_ms), "model": call.model,
        "region": call.region, "tier": call.tier,
        "tokens_in": tokens.input if tokens else None,
        "tokens_out": tokens.output if tokens else None,
        "cache_read": tokens.cache_read if tokens else None,
        "cache_write_5m": tokens.cache_write_5m if tokens else None,
        "cache_write_1h": tokens.cache_write_1h if tokens else None,
        "prices": call.prices, "reserved_nusd": call.reserved_nusd,
        "settled_nusd": call.settled_nusd, "estimated": call.estimated, "mock": call.stand_in,
    }  # fmt: skip


def iso(at_ms: int) -> str:
    """Return a time of the books as ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def cells(call: CallRecord) -> tuple[str, ...]:
    """Return a call under `HEADER`."""
    tokens = call.tokens
    made = ("", "") if tokens is None else (f"{tokens.prompt:,}", f"{tokens.output:,}")
    cost = "" if call.state != "settled" else f"{call.settled_nusd / 1e9:.9f}"
    marks = " mock" if call.stand_in else " estimated" if call.estimated else ""
    return (call.id, iso(call.at_ms)[:19], call.job, call.model, call.state, *made, cost + marks)


def sums(calls: list[CallRecord]) -> dict[str, Any]:
    """Return the dollars of these calls; those of the mock are no money and stand apart."""
    real = [call for call in calls if not call.stand_in]
    return {
        "settled_usd": sum(call.settled_nusd for call in real) / 1e9,
        "open_usd": sum(call.reserved_nusd for call in real if call.state == "open") / 1e9,
        "mock_usd": sum(call.settled_nusd for call in calls if call.stand_in) / 1e9,
    }


def summary(calls: list[CallRecord], shown: int) -> str:
    """Return how many calls there are and what they cost, in words."""
    found = sums(calls)
    line = f"{counted(len(calls), 'call')}, ${found['settled_usd']:.6f} settled"
    if found["open_usd"]:
        line += f", ${found['open_usd']:.6f} reserved for calls without a known outcome"
    if found["mock_usd"]:
        line += f"; the mock billed ${found['mock_usd']:.6f}, which is no money"
    return line + (f"; the newest {shown:,} shown" if shown < len(calls) else "")
