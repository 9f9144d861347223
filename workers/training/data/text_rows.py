"""Reads the rows of CSV and JSON Lines files, which may be compressed by gzip."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, NamedTuple

from forebay.routing.errors import Misconfigured

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = frozenset({".jsonl", ".ndjson"})
MAX_CELL_CHARS = 10_000_000


class TextRow(NamedTuple):
    """A row of the file: the line on which it ends, and its values by column."""

    line: int
    values: dict[str, Any]


def ending(path: Path) -> str:
    """Return the ending of a file's name that tells its format, without `.gz`."""
    return PurePath(path.name.lower().removesuffix(".gz")).suffix


def is_text(path: Path) -> bool:
    """Return whether the file's name ends as that of CSV or JSON Lines does."""
    return ending(path) in DELIMITERS or ending(path) in JSON_LINES


def text_rows(path: Path) -> Iterator[TextRow]:
    """Yield the rows of a CSV or JSON Lines file. Blank lines are skipped.

    An empty cell of a CSV is `None`, other cells are text. Values of JSON Lines are as in the file.

    Raises:
        Misconfigured: The file cannot be read, or a line is wrong; names the line.
    """
    with _opened(path) as file:
        delimiter = DELIMITERS.get(ending(path))
        yield from _json_rows(path, file) if delimiter is None else _cells(path, file, delimiter)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    unzip = path.name.lower().endswith(".gz")
    try:
        with (gzip.open if unzip else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise Misconfigured("is not UTF-8: convert it, or save it again", field=str(path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Misconfigured("is not gzip, or is cut short", field=str(path)) from None
    except OSError as error:
        raise Misconfigured(f"cannot be read: {error.strerror}", field=str(path)) from None


def _cells(path: Path, file: IO[str], delimiter: str) -> Iterator[TextRow]:
    csv.field_size_limit(MAX_CELL_CHARS)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    names: Sequence[str] | None = None
    try:
        for cells in reader:
            if names is None:
                names = _header(path, cells)
            elif cells:
                if len(cells) != len(names):
                    found = f"line {reader.line_num}: has {len(cells)} cells, not {len(names)}"
                    raise Misconfigured(f"{found} as the header", field=str(path))
                values = {name: cell or None for name, cell in zip(names, cells, strict=True)}
                yield TextRow(reader.line_num, values)
    except csv.Error:
        found = f"line {reader.line_num}: a quote is not closed, or a cell is too long"
        raise Misconfigured(found, field=str(path)) from None


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise Misconfigured(f"line 1: names column {repeated[0]!r} twice", field=str(path))
    return names


def _json_rows(path: Path, file: IO[str]) -> Iterator[TextRow]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise Misconfigured(f"line {number}: is not JSON", field=str(path)) from None
        if not isinstance(values, dict):
            raise Misconfigured(f"line {number}: is not a JSON object", field=str(path))
        yield TextRow(number, values)
