"""Results as flat columns, for formats that have cells instead of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from forebay.producers.bulk.outputs.output import ResultRow

#: A spreadsheet runs a cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

#: The field of an answer's content that says the most. Content has at most one of them, and results
#: hold it without its kind.
_MAIN_FIELDS = ("label", "data", "text")


def flat_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns, with the answer's probability in a column of its own."""
    at = columns.index("answer") + 1 if "answer" in columns else 0
    return (*columns[:at], "probability", *columns[at:]) if at else tuple(columns)


def flat(row: ResultRow, columns: Sequence[str]) -> list[Any]:
    """Return the values of a row in the order of flat columns."""
    answer = row.get("answer")
    content = answer if isinstance(answer, Mapping) else {}
    main = next((content[name] for name in _MAIN_FIELDS if name in content), answer)
    added = {"answer": main, "probability": content.get("probability")}
    return [added[name] if name in added else row.get(name) for name in columns]


def as_text(value: Any) -> str | None:
    """Return a value as text: texts as they are, all else as JSON, `None` as `None`."""
    if value is None or isinstance(value, str):
        return value
    return to_json(value, inf_nan_mode="null").decode()


def as_cell(value: Any) -> str:
    """Return a value as the cell of a spreadsheet.

    A text that a spreadsheet would run as a formula gets a `'` before it, which spreadsheets take
    as "this is text". Numbers are left as they are.
    """
    text = as_text(value) or ""
    if text.startswith(_FORMULA) and isinstance(value, str) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
