"""Reads columns of the files for training and evaluation, and checks the type of their values."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.routing.errors import Misconfigured
from forebay.workers.training.data.text_rows import TextRow, is_text, text_rows

#: What a column may hold, as its error says it. Names that are numbers are read as text.
TEXT, NAME, ANSWER = "text", "text or whole numbers", "text, numbers, or true and false"
NUMBER = "a number of 0 or more"
COLUMN_TYPES = {
    "uid": NAME, "model": NAME, "job_type": NAME, "source": NAME, "prompt": TEXT, "pred": ANSWER,
}  # fmt: skip
REQUIRED_IN_EACH_ROW = {"uid", "model", "prompt"}
HINTS = {"job_type": ": add it, or give --no-job-type"}  # about a column that is missing
TRUTHS = {"true": 1.0, "false": 0.0}  # as CSV spells them


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of a file.

    Attributes:
        path: the file.
        columns: by name, a value for each row: numbers in `score`, else text or `None`.
        lines: on which line of the file each row ends; `None` for Parquet, which has no lines.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def place(self, row: int) -> str:
        """Return where a row is, for an error."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"

    def wrong(self, row: int, message: str) -> Misconfigured:
        """Return the error about a row."""
        return Misconfigured(f"{self.place(row)}: {message}", field=str(self.path))


def columns(path: Path, names: Sequence[str], *, optional: Sequence[str] = ()) -> Table:
    """Read these columns of a Parquet, CSV or JSON Lines file, and the optional ones that it has.

    Raises:
        Misconfigured: The file cannot be read, has no rows, lacks a column, or has a value of a
            wrong type; names the row or the line.
    """
    if path.is_dir():
        raise Misconfigured("is a folder; name the file in it", field=str(path))
    table = (_of_text if is_text(path) else _of_parquet)(path, names, optional)
    if not len(table):
        raise Misconfigured("has no rows", field=str(path))
    for name in REQUIRED_IN_EACH_ROW.intersection(table.columns):
        if (empty := table[name].count(None)) > 0:
            found = f"column {name!r} is empty in {empty} of {len(table)} rows"
            raise table.wrong(table[name].index(None), found)
    if "score" in table:
        _require_scores(table)
    return table


def _chosen(
    path: Path, names: Sequence[str], optional: Sequence[str], present: Sequence[str]
) -> list[str]:
    """Return which of the present columns are read."""
    for name in names:
        if name not in present:
            found = f"has no column {name!r} (it has {', '.join(present)}){HINTS.get(name, '')}"
            raise Misconfigured(found, field=str(path))
    chosen = [*names, *(name for name in optional if name in present)]
    for name in chosen:
        if present.count(name) > 1:
            raise Misconfigured(f"has {present.count(name)} columns {name!r}", field=str(path))
    return chosen


def _require_scores(table: Table) -> None:
    for row, score in enumerate(table["score"]):
        if score is None or not 0 <= score < math.inf:
            model = f" (model {table['model'][row]})" if "model" in table else ""
            shown = "empty" if score is None else score
            found = f"column 'score' must be {NUMBER}; it is {shown}{model}"
            raise table.wrong(row, found)


# --- text ----------------------------------------------------------------------------------------


def _of_text(path: Path, names: Sequence[str], optional: Sequence[str]) -> Table:
    table = Table(path, {}, lines := array("L"))
    for row in text_rows(path):
        if not lines:
            chosen = _chosen(path, names, optional, list(row.values))
            table.columns.update({name: [] for name in chosen})
        lines.append(row.line)
        for name, values in table.columns.items():
            values.append(_text_value(path, row, name))
    if not lines:
        table.columns.update({name: [] for name in names})
    return table


def _text_value(path: Path, row: TextRow, name: str) -> Any:
    value = row.values.get(name)
    if value is None:
        return None
    if name not in COLUMN_TYPES:
        return _number(path, row, name, value)
    allowed = COLUMN_TYPES[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str) or (allowed != TEXT and whole):
        return str(value)
    if allowed == ANSWER and isinstance(value, bool | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    found = f"line {row.line}: column {name!r} must be {allowed}; it is {type(value).__name__}"
    raise Misconfigured(found, field=str(path))


def _number(path: Path, row: TextRow, name: str, value: Any) -> float:
    try:
        if isinstance(value, str) and value.lower() in TRUTHS:
            return TRUTHS[value.lower()]
        return float(value)
    except (TypeError, ValueError, OverflowError):
        found = f"line {row.line}: column {name!r} must be {NUMBER}"
        raise Misconfigured(found, field=str(path)) from None


# --- Parquet -------------------------------------------------------------------------------------


def _of_parquet(path: Path, names: Sequence[str], optional: Sequence[str]) -> Table:
    try:
        chosen = _chosen(path, names, optional, pq.read_schema(path).names)
        table = pq.read_table(path, columns=chosen)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it is damaged"
        raise Misconfigured(f"cannot be read: {why}", field=str(path)) from None
    except pa.ArrowException:
        found = "is not a Parquet file, or is damaged; other files must end in .csv or .jsonl"
        raise Misconfigured(found, field=str(path)) from None
    return Table(path, {name: _values(path, name, table.column(name)) for name in chosen})


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    allowed = COLUMN_TYPES.get(name, NUMBER)
    if not _is_allowed(column.type, allowed):
        wrong = f"column {name!r} must be {allowed}; it is {column.type}"
        raise Misconfigured(wrong, field=str(path))
    try:
        return list(
            column.cast(pa.float64() if allowed == NUMBER else pa.large_string()).to_pylist()
        )
    except UnicodeDecodeError:
        raise Misconfigured(f"column {name!r} is not UTF-8", field=str(path)) from None


def _is_allowed(arrow_type: pa.DataType, allowed: str) -> bool:
    """Return whether a column may have this type. A column of nothing but nulls always may."""
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    numbers = (types.is_floating, types.is_decimal, types.is_boolean)
    matching: dict[str, Sequence[Callable[[pa.DataType], bool]]] = {
        TEXT: texts,
        NAME: (*texts, types.is_integer),
        ANSWER: (*texts, types.is_integer, *numbers),
        NUMBER: (types.is_integer, *numbers),
    }
    return types.is_null(arrow_type) or any(matches(arrow_type) for matches in matching[allowed])
