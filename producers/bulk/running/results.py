"""The rows of a bulk's output, made of the results of shards and of jobs that went up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json

from forebay.producers.bulk.outputs.columns import BY_MOCK
from forebay.producers.bulk.outputs.output import JsonLines, ResultRow
from forebay.routing.base import NANO
from forebay.routing.bulk.row_result import PlainRows, RowResult
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.reasons import Reason


def of_row(number: int, key: str | None, result: RowResult) -> dict[str, Any]:
    """Return the output's row for a row that the local lane ended."""
    return {
        "row": number, "key": key, "status": result.status, "answer": result.content,
        "lane": "local" if result.status == "done" else None,
        "model": result.model or None, "revision": result.revision or None,
        "degraded": result.degraded, "cost_usd": 0.0, "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out, "checks": _checks(result),
        "reasons": list(result.reasons), "error": result.error, "error_note": result.error_note,
    }  # fmt: skip


#: The columns of which `lines_of` gets the values as JSON text, in their order.
_OF_A_ROW = ("row", "key", "answer", "tokens_in", "tokens_out")


def lines_of(plain: PlainRows, rows: Iterable[tuple[int, str | None]]) -> JsonLines:
    """Return the output's rows for the rows of a shard, whose numbers and keys are given."""
    forms = [_line_form(of_row(0, None, each)) for each in plain.shared]
    lines = [
        forms[int(form)] % (b"%d" % number, _key(key), content, tokens_in, tokens_out)
        for (number, key), (form, content, tokens_in, tokens_out) in zip(
            rows, plain.rows(), strict=True
        )
    ]
    return JsonLines(b"".join(lines))


def _line_form(row: dict[str, Any]) -> bytes:
    """Return the line of a row, with `%b` for what the row does not have in common with others."""
    cells = {name: to_json(value).replace(b"%", b"%%") for name, value in row.items()}
    cells |= dict.fromkeys(_OF_A_ROW, b"%b")
    return b"{%b}\n" % b",".join([b'"%b":%b' % (name.encode(), cells[name]) for name in cells])


def _key(key: str | None) -> bytes:
    return b"null" if key is None else to_json(key)


def totals_of(plain: PlainRows) -> Counter[str]:
    """Return what became of rows, as `totals` does for their output's rows."""
    counted: Counter[str] = Counter()
    for each, (count, tokens_in, tokens_out) in zip(plain.shared, plain.sums, strict=True):
        one = totals([of_row(0, None, each)], 0)
        counted.update({name: number * count for name, number in one.items()})
        counted.update(tokens_in=tokens_in, tokens_out=tokens_out)
    return counted


def _checks(result: RowResult) -> list[dict[str, Any]]:
    if not result.notes and not result.failed:
        return [{"name": name, "passed": True, "note": ""} for name in result.checks]
    notes = list(result.notes)  # in the order of the checks, of which two may have one name
    passed = []
    for name in result.checks:
        note = notes.pop(0)[1] if notes and notes[0][0] == name else ""
        passed.append({"name": name, "passed": True, "note": note})
    return passed + [{"name": name, "passed": False, "note": note} for name, note in result.failed]


def of_job(number: int, key: str | None, ended: Answer | Receipt) -> dict[str, Any]:
    """Return the output's row for a row that became a job of its own."""
    answer = None
    if isinstance(ended, Answer):
        answer = ended.content.model_dump(mode="json", exclude={"kind"})
    return {
        "row": number, "key": key, "status": ended.status, "answer": answer, "lane": ended.lane,
        "model": ended.model, "revision": ended.revision, "degraded": ended.degraded,
        "cost_usd": ended.cost_nusd / NANO, "tokens_in": ended.tokens_in,
        "tokens_out": ended.tokens_out,
        "checks": [check.model_dump() for check in ended.checks],
        "reasons": [*ended.reasons, *([BY_MOCK] if ended.stand_in else [])],
        "error": ended.error, "error_note": ended.error_note,
    }  # fmt: skip


def without_result(number: int, key: str | None, status: str, error: str) -> dict[str, Any]:
    """Return the output's row for a row whose shard ended without a result for it."""
    result = RowResult(status="failed", reasons=(error,), error=error)
    return of_row(number, key, result) | {"status": status}


def totals(known: Iterable[ResultRow | None], bad: int) -> Counter[str]:
    """Return what became of rows, as counters for the journal and for the progress."""
    rows = [row for row in known if row is not None]
    counted: Counter[str] = Counter(rows=len(rows), bad=bad)
    for row in rows:
        counted[f"rows_{row['status']}"] += 1
        if row["lane"]:
            counted[f"rows_{row['lane']}"] += 1
        if row["status"] == "done" and row["degraded"]:
            counted["rows_degraded"] += 1
            counted["rows_over_budget"] += Reason.BUDGET_SPENT.value in row["reasons"]
        counted["tokens_in"] += row["tokens_in"]
        counted["tokens_out"] += row["tokens_out"]
        counted["nusd"] += round(row["cost_usd"] * NANO)
    return Counter({name: number for name, number in counted.items() if number})
