"""Columns of the parquet files that training and measuring read, each of the type it must have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.routing.errors import Misconfigured

#: What may be in a column, in the words of its error. Names may be numbers, which are read as text.
TEXT, NAME, ANSWER = "text", "text or whole numbers", "text, numbers, or true and false"
KINDS = {
    "uid": NAME, "model": NAME, "job_type": NAME, "source": NAME, "prompt": TEXT, "pred": ANSWER,
}  # fmt: skip
FULL = {"uid", "model", "prompt"}  # in each row


def columns(
    path: Path, names: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """These columns of a parquet file; of the optional ones those that are there.

    Those of `KINDS` are text or none, `score` is as it is in the file.

    Raises:
        Misconfigured: The file cannot be read, lacks a column, or holds what it must not.
    """
    table = _table(path, names, optional)
    return {name: _values(path, name, table.column(name)) for name in table.column_names}


def _table(path: Path, names: Sequence[str], optional: Sequence[str]) -> pa.Table:
    try:
        there = pq.read_schema(path).names
        missing = [name for name in names if name not in there]
        if missing:
            has = ", ".join(there)
            raise Misconfigured(f"has no column {missing[0]!r} (it has {has})", field=str(path))
        return pq.read_table(path, columns=[*names, *(n for n in optional if n in there)])
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "it is damaged"
        raise Misconfigured(f"cannot be read: {why}", field=str(path)) from None
    except pa.ArrowInvalid:
        raise Misconfigured("is not a parquet file", field=str(path)) from None


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    if name not in KINDS:
        return list(column.to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _may_be(column.type, KINDS[name]):
        wrong = f"column {name!r} must be {KINDS[name]}; it is {column.type}"
        raise Misconfigured(wrong, field=str(path))
    if name in FULL and column.null_count:
        empty = f"column {name!r} has nothing in {column.null_count} of {len(column)} rows"
        raise Misconfigured(empty, field=str(path))
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except UnicodeDecodeError:
        raise Misconfigured(f"column {name!r} is not UTF-8", field=str(path)) from None


def _may_be(kind: pa.DataType, wanted: str) -> bool:
    """A column of nothing but nulls has a type of its own, and may be any."""
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    whole = wanted != TEXT and types.is_integer(kind)
    value = wanted == ANSWER and any(
        fits(kind) for fits in (types.is_floating, types.is_decimal, types.is_boolean)
    )
    return bool(text or whole or value or types.is_null(kind))
