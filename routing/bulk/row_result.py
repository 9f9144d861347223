"""What became of the rows of a shard, and how that is stored: a few bytes a row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast

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
#: once for each combination. What stands after the tokens is missing in most rows.
_AT_CONTENT = RowResult._fields.index("content")
_AFTER_TOKENS = RowResult._fields.index("tokens_out") + 1
_DEFAULTS = tuple(RowResult._field_defaults[name] for name in RowResult._fields[_AT_CONTENT:])
_NOTHING_AFTER = _DEFAULTS[_AFTER_TOKENS - _AT_CONTENT :]

_PLAIN_ROW = rb"\[(\d+),(\{.*\}),(\d+),(\d+)\],?\n"
_PLAIN_ROWS = re.compile(rb"(?:%b)+" % _PLAIN_ROW.replace(b"(", b"(?:"))
_PLACE_IN_SHARED = re.compile(rb"^\[(\d+)", re.MULTILINE)


def pack_rows(results: Sequence[RowResult | None]) -> bytes:
    """Return the results of a shard's rows as JSON, each row on a line of its own.

    `None` stands for a row without a result.
    """
    shared: dict[tuple[Any, ...], list[int]] = {}
    rows: list[bytes] = []
    for result in results:
        if result is None:
            rows.append(b"null")
            continue
        sums = shared.setdefault(result[:_AT_CONTENT], [len(shared), 0, 0, 0])
        number = sums[0]
        sums[1] += 1
        sums[2] += result.tokens_in
        sums[3] += result.tokens_out
        if result[_AFTER_TOKENS:] == _NOTHING_AFTER:
            rows.append(to_json((number, *result[_AT_CONTENT:_AFTER_TOKENS])))
            continue
        own = list(result[_AT_CONTENT:])
        while own[-1] == _DEFAULTS[len(own) - 1]:  # trailing defaults are left out
            own.pop()
        rows.append(to_json((number, *own)))
    head = to_json({"shared": list(shared), "sums": [sums[1:] for sums in shared.values()]})
    return b'%b,"rows":[\n%b\n]}' % (head[:-1], b",\n".join(rows))


class PlainRows(NamedTuple):
    """The rows of a shard that say nothing but their content and tokens.

    Attributes:
        shared: what rows have in common: results without content.
        sums: for each of these, how many rows there are, and their tokens read and made.
        data: the rows as `pack_rows` packed them, which are known to be plain.
    """

    shared: list[RowResult]
    sums: list[tuple[int, int, int]]
    data: bytes

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.data.count(b"\n")

    def rows(self) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
        """Yield for each row its place in `shared`, its content, and its tokens read and made."""
        return (
            cast("tuple[bytes, bytes, bytes, bytes]", each.groups())
            for each in re.finditer(_PLAIN_ROW, self.data)
        )


def plain_rows(data: bytes) -> PlainRows | None:
    """Return the rows that `pack_rows` packed, to be copied as JSON text.

    It is `None` if a row says more than its content, or if a number of one is not finite.
    """
    head, _, data = data.partition(b"\n")
    data = data.removesuffix(b"]}")
    if not _PLAIN_ROWS.fullmatch(data) or b"NaN" in data or b"Infinity" in data:
        return None
    try:
        told = json.loads(head + b"]}")
        shared = [RowResult(*_shared(*values)) for values in told["shared"]]
        sums = [(rows, read, made) for rows, read, made in told["sums"]]
    except (ValueError, KeyError, TypeError):
        return None
    known = all(int(place) < len(shared) for place in set(_PLACE_IN_SHARED.findall(data)))
    return PlainRows(shared, sums, data) if known and len(sums) == len(shared) else None


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
