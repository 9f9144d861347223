"""Write rows as CSV, Parquet, JSON or JSON lines, to a file or to standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import typer

from forebay.routing.errors import Misconfigured

Format = Literal["csv", "parquet", "json", "jsonl"]
Row = Mapping[str, Any]


def format_of(name: str | None, out: Path | None) -> Format:
    """Return the format that the option names, or else the ending of the file; CSV without both.

    Raises:
        BadParameter: Names the option that is wrong.
    """
    given = name or (out.suffix.removeprefix(".") if out else "csv")
    for known in get_args(Format):
        if given == known:
            found: Format = known
            return found
    hint = "--format" if name else "--out"
    what = "must be" if name else "must end in ." if not out or not out.suffix else "must end in"
    raise typer.BadParameter(f"{what} csv, parquet, json or jsonl", param_hint=hint)


def write(rows: Sequence[Row], columns: Sequence[str], form: Format, out: Path | None) -> None:
    """Write rows; a file is replaced only once all of them are written.

    Raises:
        Misconfigured: Parquet needs an extra that is not installed, or the file cannot be written.
    """
    data = _packed(rows, columns, form)
    if out is None:
        if form == "parquet":
            raise typer.BadParameter("names a file: Parquet is not text", param_hint="--out")
        sys.stdout.write(data.decode())
        return
    replace_file(out, data, "--out")


def replace_file(out: Path, data: bytes, option: str) -> None:
    """Write a file in one step, so that nobody reads half of it.

    Raises:
        Misconfigured: The file cannot be written; names the option.
    """
    draft = out.with_name(f".{out.name}.new")
    try:
        draft.write_bytes(data)
        os.replace(draft, out)  # noqa: PTH105 - one step, and it replaces the file
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}", field=option) from None


def _packed(rows: Sequence[Row], columns: Sequence[str], form: Format) -> bytes:
    if form == "parquet":
        return _parquet(rows, columns)
    if form == "json":
        return (json.dumps(list(rows), indent=1) + "\n").encode()
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "Parquet needs pyarrow: install the extra `parquet`, or write CSV"
        raise Misconfigured(hint, field="--format") from None
    table = pa.table({name: [row[name] for row in rows] for name in columns})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
