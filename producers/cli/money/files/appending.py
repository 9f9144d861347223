"""Add to a file the entries of a book that it lacks, so that a cron job can keep all of them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from forebay.producers.cli.money.files.tables import Row
from forebay.routing.errors import Misconfigured

_TAIL_BYTES = 65_536  # in which the last line of a file is looked for


def add(rows: Sequence[Row], columns: Sequence[str], form: str, out: Path) -> int:
    """Append the rows whose `entry` comes after that of the file's last row; return how many.

    Raises:
        BadParameter: This format cannot be appended to.
        Misconfigured: The file is another one, or cannot be written.
    """
    if form not in {"csv", "jsonl"}:
        raise typer.BadParameter("takes .csv or .jsonl files", param_hint="--append")
    last = _last_entry(out, columns, form)
    new = [row for row in rows if last is None or _order(row["entry"]) > _order(last)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if form == "csv" and last is None:
        writer.writeheader()
    for row in new:
        if form == "csv":
            writer.writerow(row)
        else:
            text.write(json.dumps(row) + "\n")
    append_text(out, text.getvalue())
    return len(new)


def append_text(out: Path, text: str) -> None:
    """Append text to a file, and have it on the disk.

    Raises:
        Misconfigured: The file cannot be written.
    """
    try:
        with out.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}", field="--out") from None


def last_line(out: Path) -> str | None:
    """Return the last line of a file; `None` if there is no file, or if it is empty.

    Raises:
        Misconfigured: The file cannot be read, or its last line was cut off.
    """
    try:
        with out.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"{out} cannot be read: {error.strerror}", field="--out") from None
    if not tail:
        return None
    if not tail.endswith("\n"):
        hint = f"the last line of {out} is cut off: remove it, and run the command again"
        raise Misconfigured(hint, field="--out")
    return tail.splitlines()[-1]


def _last_entry(out: Path, columns: Sequence[str], form: str) -> str | None:
    line = last_line(out)
    if line is None:
        return None
    try:
        row: Any = json.loads(line) if form == "jsonl" else next(csv.DictReader([line], columns))
        entry = str(row["entry"])
        if entry == "entry":  # only a header
            return "0-0"
        _order(entry)
    except (ValueError, KeyError, TypeError):
        hint = f"{out} does not end with a row of `forebay spend export`: name another file"
        raise Misconfigured(hint, field="--out") from None
    return entry


def _order(entry: str) -> tuple[int, int]:
    ms, _, number = entry.partition("-")
    return int(ms), int(number)
