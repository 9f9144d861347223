"""The rows of a bulk's output, made of the results of shards and of jobs that went up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.bulk.row_result import RowResult
from forebay.routing.jobs import Answer, Receipt
from forebay.routing.reasons import Reason

ResultRow = dict[str, Any]


def of_row(number: int, key: str | None, result: RowResult) -> ResultRow:
    """Return the output's row for a row that the local lane ended."""
    return {
        "row": number, "key": key, "status": result.status, "answer": result.content,
        "lane": "local" if result.status == "done" else None,
        "model": result.model or None, "revision": result.revision or None,
        "degraded": result.degraded, "cost_usd": 0.0, "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out, "checks": _checks(result),
        "reasons": list(result.reasons), "error": result.error, "error_note": result.error_note,
    }  # fmt: skip


def _checks(result: RowResult) -> list[dict[str, Any]]:
    if not result.notes and not result.failed:
        return [{"name": name, "passed": True, "note": ""} for name in result.checks]
    notes = list(result.notes)  # in the order of the checks, of which two may have one name
    passed = []
    for name in result.checks:
        note = notes.pop(0)[1] if notes and notes[0][0] == name else ""
        passed.append({"name": name, "passed": True, "note": note})
    return passed + [{"name": name, "passed": False, "note": note} for name, note in result.failed]


def of_job(number: int, key: str | None, ended: Answer | Receipt) -> ResultRow:
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
        "reasons": list(ended.reasons), "error": ended.error, "error_note": ended.error_note,
    }  # fmt: skip


def without_result(number: int, key: str | None, status: str, error: str) -> ResultRow:
    """Return the output's row for a row whose shard ended without a result for it."""
    result = RowResult(status="failed", reasons=(error,), error=error)
    return of_row(number, key, result) | {"status": status}


def totals(known: Sequence[Mapping[str, Any] | None], bad: int) -> Counter[str]:
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
