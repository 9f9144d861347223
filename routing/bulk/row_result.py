"""What became of the rows of a shard, and how that is stored: a few bytes a row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal

RowStatus = Literal["done", "failed", "expired", "up"]


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row in the local lane.

    Attributes:
        status: `done`, `failed` or `expired`; `up` if the row became a job for Bedrock.
        content: the content of the answer, as JSON data.
        model, revision: what answered.
        degraded: the answer failed a check, or the policy wanted the other lane.
        reasons: reason codes, as in a receipt.
        tokens_in, tokens_out: tokens read and made.
        checks: the names of the checks that the answer passed.
        failed: the checks that the answer failed, with their notes.
        doubt: the probability that the answer is wrong, if it was computed.
        error, error_field, error_note: why there is no answer, as in a receipt.
        job: the id of the row's own job, if it went up.
        notes: the notes of the checks that the answer passed, by the names of the checks.
    """

    status: RowStatus
    content: dict[str, Any] | None = field(default=None, repr=False)
    model: str = ""
    revision: str = ""
    degraded: bool = False
    reasons: tuple[str, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    checks: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    doubt: float | None = None
    error: str | None = None
    error_field: str | None = None
    error_note: str | None = None
    job: str | None = None
    notes: tuple[tuple[str, str], ...] = ()


_FIELDS = tuple(each.name for each in fields(RowResult))
#: What the rows of a shard mostly have in common: stored once for each combination.
_SHARED = ("status", "model", "revision", "degraded", "reasons", "checks")
_OWN = tuple(name for name in _FIELDS if name not in _SHARED)
_shared_of, _own_of = attrgetter(*_SHARED), attrgetter(*_OWN)
_DEFAULTS = tuple(each.default for each in fields(RowResult) if each.name in _OWN)


def pack_rows(results: Sequence[RowResult | None]) -> bytes:
    """Return the results of a shard's rows as JSON; `None` stands for a row without a result."""
    shared: dict[tuple[Any, ...], int] = {}
    rows: list[list[Any] | None] = []
    for result in results:
        if result is None:
            rows.append(None)
            continue
        key = _shared_of(result)
        number = shared.setdefault(key, len(shared))
        own = list(_own_of(result))
        while own and own[-1] == _DEFAULTS[len(own) - 1]:  # trailing defaults are left out
            own.pop()
        rows.append([number, *own])
    packed = {"shared": list(shared), "rows": rows}
    return json.dumps(packed, ensure_ascii=False, separators=(",", ":")).encode()


def unpack_rows(data: bytes) -> list[RowResult | None]:
    """Return the results that `pack_rows` packed.

    Raises:
        ValueError: `pack_rows` did not make these bytes.
    """
    try:
        packed = json.loads(data)
        shared = [dict(zip(_SHARED, values, strict=True)) for values in packed["shared"]]
        return [row and _unpacked(shared[row[0]], row[1:]) for row in packed["rows"]]
    except (KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError("damaged results") from error


def _unpacked(shared: dict[str, Any], own: list[Any]) -> RowResult:
    values = {**shared, **dict(zip(_OWN, own, strict=False))}
    for name in ("reasons", "checks"):
        values[name] = tuple(values[name])
    for name in ("failed", "notes"):
        values[name] = tuple((check, note) for check, note in values.get(name) or ())
    return RowResult(**values)


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
