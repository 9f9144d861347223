"""What became of the rows of a shard, and how that is stored: a few bytes a row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json

RowStatus = Literal["done", "failed", "expired", "up"]


class RowResult(NamedTuple):
    """What became of one row in the local lane; a named tuple, because a bulk makes millions.

    Attributes:
        status: `done`, `failed` or `expired`; `up` if the row became a job for Bedrock.
        model, revision: what answered.
        degraded: the answer failed a check, or the policy wanted the other lane.
        reasons: reason codes, as in a receipt.
        checks: the names of the checks that the answer passed.
        content: the content of the answer, as JSON data.
        tokens_in, tokens_out: tokens read and made.
        failed: the checks that the answer failed, with their notes.
        doubt: the probability that the answer is wrong, if it was computed.
        error, error_field, error_note: why there is no answer, as in a receipt.
        job: the id of the row's own job, if it went up.
        notes: the notes of the checks that the answer passed, by the names of the checks.
    """

    status: RowStatus
    model: str = ""
    revision: str = ""
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    content: dict[str, Any] | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    doubt: float | None = None
    error: str | None = None
    error_field: str | None = None
    error_note: str | None = None
    job: str | None = None
    notes: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Return no content."""
        return f"RowResult(status={self.status!r}, model={self.model!r}, error={self.error!r})"


#: What stands before the content is what the rows of a shard mostly have in common: it is stored
#: once for each combination.
_AT_CONTENT = RowResult._fields.index("content")
_DEFAULTS = tuple(RowResult._field_defaults[name] for name in RowResult._fields[_AT_CONTENT:])


def pack_rows(results: Sequence[RowResult | None]) -> bytes:
    """Return the results of a shard's rows as JSON; `None` stands for a row without a result."""
    shared: dict[tuple[Any, ...], int] = {}
    rows: list[list[Any] | None] = []
    for result in results:
        if result is None:
            rows.append(None)
            continue
        number = shared.setdefault(result[:_AT_CONTENT], len(shared))
        own = list(result[_AT_CONTENT:])
        while own and own[-1] == _DEFAULTS[len(own) - 1]:  # trailing defaults are left out
            own.pop()
        rows.append([number, *own])
    packed = {"shared": list(shared), "rows": rows}
    return to_json(packed)


def unpack_rows(data: bytes) -> list[RowResult | None]:
    """Return the results that `pack_rows` packed.

    Raises:
        ValueError: `pack_rows` did not make these bytes.
    """
    try:
        packed = json.loads(data)
        shared = [_shared(*values) for values in packed["shared"]]
        return [row and _unpacked(shared[row[0]], row[1:]) for row in packed["rows"]]
    except (KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError("damaged results") from error


def _shared(
    status: RowStatus, model: str, revision: str, degraded: Any, reasons: Any, checks: Any
) -> tuple[Any, ...]:
    return status, model, revision, degraded, tuple(reasons), tuple(checks)


def _unpacked(shared: tuple[Any, ...], own: list[Any]) -> RowResult:
    result = RowResult(*shared, *own)
    if result.failed == result.notes == ():  # left out, as of most rows
        return result
    return result._replace(failed=_pairs(result.failed), notes=_pairs(result.notes))


def _pairs(pairs: Any) -> tuple[tuple[str, str], ...]:
    return tuple((check, note) for check, note in pairs or ())


def counts(results: Sequence[RowResult]) -> dict[str, int]:
    """Return what a shard adds to the counters of its bulk."""
    totals: Counter[str] = Counter()
    for result in results:
        totals[f"rows_{result.status}"] += 1
        totals["tokens_in"] += result.tokens_in
        totals["tokens_out"] += result.tokens_out
        if result.status == "done":
            totals["rows_local"] += 1
            totals["rows_degraded"] += result.degraded
        for name, _ in result.failed:
            totals[f"check:{name}"] += 1
        if result.error:
            totals[f"error:{result.error}"] += 1
    return {name: number for name, number in totals.items() if number}
