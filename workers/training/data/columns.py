"""Reads columns of the parquet files for training and evaluation, and checks their types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.routing.errors import Misconfigured

#: What a column may hold, as its error says it. Names that are numbers are read as text.
TEXT, NAME, ANSWER = "text", "text or whole numbers", "text, numbers, or true and false"
COLUMN_TYPES = {
    "uid": NAME, "model": NAME, "job_type": NAME, "source": NAME, "prompt": TEXT, "pred": ANSWER,
}  # fmt: skip
REQUIRED_IN_EACH_ROW = {"uid", "model", "prompt"}


def columns(
    path: Path, names: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Read these columns of a parquet file, and those of the optional ones that it has.

    Values of the columns in `COLUMN_TYPES` are text or `None`; `score` is as it is in the file.

    Raises:
        Misconfigured: The file cannot be read, has no rows, lacks a column, or has a column of a
            wrong type.
    """
    if path.is_dir():
        raise Misconfigured("is a folder; name the file in it", field=str(path))
    table = _table(path, names, optional)
    if not table.num_rows:
        raise Misconfigured("has no rows", field=str(path))
    return {name: _values(path, name, table.column(name)) for name in table.column_names}


def _table(path: Path, names: Sequence[str], optional: Sequence[str]) -> pa.Table:
    try:
        present = pq.read_schema(path).names
        missing = [name for name in names if name not in present]
        if missing:
            has = ", ".join(present)
            raise Misconfigured(f"has no column {missing[0]!r} (it has {has})", field=str(path))
        return pq.read_table(path, columns=[*names, *(n for n in optional if n in present)])
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it is damaged"
        raise Misconfigured(f"cannot be read: {why}", field=str(path)) from None
    except pa.ArrowInvalid:
        raise Misconfigured("is not a parquet file", field=str(path)) from None


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    if name not in COLUMN_TYPES:
        return list(column.to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_allowed(column.type, COLUMN_TYPES[name]):
        wrong = f"column {name!r} must be {COLUMN_TYPES[name]}; it is {column.type}"
        raise Misconfigured(wrong, field=str(path))
    if name in REQUIRED_IN_EACH_ROW and column.null_count:
        empty = f"column {name!r} is empty in {column.null_count} of {len(column)} rows"
        raise Misconfigured(empty, field=str(path))
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except UnicodeDecodeError:
        raise Misconfigured(f"column {name!r} is not UTF-8", field=str(path)) from None


def _is_allowed(arrow_type: pa.DataType, allowed: str) -> bool:
    """Return whether a column may have this type. A column of nothing but nulls always may."""
    types = pa.types
    is_text = any(
        matches(arrow_type)
        for matches in (types.is_string, types.is_large_string, types.is_string_view)
    )
    is_whole = allowed != TEXT and types.is_integer(arrow_type)
    is_value = allowed == ANSWER and any(
        matches(arrow_type) for matches in (types.is_floating, types.is_decimal, types.is_boolean)
    )
    return bool(is_text or is_whole or is_value or types.is_null(arrow_type))
