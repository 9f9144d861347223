"""The columns of the files that a bulk writes."""

from __future__ import annotations

from typing import Any

from forebay.producers.bulk.rows import BadRow

#: What is known of each row of a bulk, in the order in which files have it.
RESULT_COLUMNS = (
    "row", "key", "status", "answer", "lane", "model", "revision", "degraded", "cost_usd",
    "tokens_in", "tokens_out", "checks", "reasons", "error", "error_note",
)  # fmt: skip

#: Among the reasons of a row that the mock of Bedrock answered.
BY_MOCK = "stand_in"

#: What is known of each bad row.
BAD_ROW_COLUMNS = ("file", "row", "line", "column", "reason", "key")


def of_bad_row(bad: BadRow) -> dict[str, Any]:
    """Return a bad row by `BAD_ROW_COLUMNS`."""
    return {
        "file": bad.file, "row": bad.number, "line": bad.line, "column": bad.column,
        "reason": bad.reason, "key": bad.key,
    }  # fmt: skip
