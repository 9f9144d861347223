"""Opens whatever a caller names as the input of a bulk."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.sources.delimited import DelimitedSource
from forebay.producers.bulk.sources.folder import FolderSource
from forebay.producers.bulk.sources.items import ItemsSource, ItemStream
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.sources.read_ahead import ReadAhead
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.sources.text import HEAD_BYTES
from forebay.producers.bulk.streams.inputs import FileInput, Input, readable
from forebay.producers.bulk.streams.lines import check_is_text
from forebay.producers.bulk.streams.spooled import SpooledInput, part_of, readiness
from forebay.routing.errors import InvalidJob, Misconfigured

Format = Literal["jsonl", "csv", "tsv", "parquet", "text", "items"]
FORMATS: tuple[Format, ...] = get_args(Format)

#: What a caller may give: `items` is how Forebay keeps the rows of an iterable.
GIVEN_FORMATS = tuple(each for each in FORMATS if each != "items")

STDIN = "-"
#: How errors and bad rows name an iterable, and standard input.
ROWS, STDIN_NAME = "rows", "standard input"

#: Some countries' spreadsheets separate the cells of CSV by semicolons.
CSV_DELIMITERS = ",;\t"

#: What can be iterated over and holds no rows: bytes, and a single row.
NOT_ROWS = (bytes, bytearray, Mapping, BaseModel)

#: The format of a file by the end of its name.
BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv",
    ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


def open_source(
    source: str | PathLike[str] | Iterable[Any],
    *,
    format: Format | None = None,  # noqa: A002 - the word of the command line
    spool: Path | None = None,
    name: str | None = None,
) -> Source:
    """Open the input of a bulk.

    Args:
        source: the name of a file or a folder, `-` for standard input, or an iterable of mappings,
            strings, requests or jobs.
        format: the format; by default by the end of the file's name, `text` for a folder, and
            `jsonl` for standard input. `items` is the format of a spool that an iterable filled.
        spool: a file that keeps what comes from standard input or an iterable, so that another
            process can read it again; without it, a temporary file.
        name: how errors and bad rows name a file that is read; by default by its path.

    Raises:
        InvalidJob: The input does not exist, or has no format that is known.
    """
    if format is not None and format not in FORMATS:
        raise _unknown_format()
    if isinstance(source, str) and source == STDIN:
        if format in {"parquet", "text"}:
            raise InvalidJob("must be jsonl, csv or tsv for standard input", field="format")
        read: Any = sys.stdin.buffer
        stdin = SpooledInput(read.read1, path=spool, name=STDIN_NAME, ready=_readiness_of(read))
        return _text_source(stdin, format) if format else JsonlSource(stdin, guessed=True)
    if isinstance(source, str | PathLike):
        return _open_path(Path(source), format, spool, name)
    if isinstance(source, Iterable) and not isinstance(source, NOT_ROWS):
        return _items(source, spool)
    wrong = type(source).__name__
    raise InvalidJob(
        f"must be a file, a folder, - or an iterable of rows, not {wrong}", field="source"
    )


def _open_path(path: Path, form: Format | None, spool: Path | None, name: str | None) -> Source:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        if form not in {None, "text"}:
            raise InvalidJob("must be text for a folder: one row a file", field="format")
        return FolderSource(path)
    form = form or BY_SUFFIX.get(path.suffix.lower())
    if form is None or form == "text":
        raise _no_format(path, mode)
    if stat.S_ISREG(mode):
        return _parquet(path) if form == "parquet" else _text_source(FileInput(path, name), form)
    if form == "parquet":
        raise InvalidJob("must be a file to be read as Parquet, not a pipe", field=shown(path))
    live = path.open("rb", buffering=0)  # a named pipe, or what a shell makes of <(command)
    name = shown(path)
    pipe = SpooledInput(
        live.read, path=spool, name=name, ready=readiness(live.fileno()), on_close=live.close
    )
    return _text_source(pipe, form)


def check_source(source: Any, form: str | None) -> None:
    """Raise `InvalidJob` for an empty name, and for a format that a caller cannot give."""
    if form is not None and form not in GIVEN_FORMATS:
        raise _unknown_format()
    if isinstance(source, str) and not source.strip():
        raise InvalidJob("must be a file, a folder, or - for standard input", field="source")


def _unknown_format() -> InvalidJob:
    return InvalidJob(f"must be one of {', '.join(GIVEN_FORMATS)}", field="format")


def _no_format(path: Path, mode: int) -> InvalidJob:
    """Return the error about a file whose name tells no format: what its content tells instead."""
    if stat.S_ISREG(mode):
        with readable(shown(path)), path.open("rb") as file:
            check_is_text(file.read(HEAD_BYTES), name=shown(path))
    known = ", ".join(each for each in GIVEN_FORMATS if each != "text")
    return InvalidJob(f"has no known format: give the format, one of {known}", field=shown(path))


def _items(source: Iterable[Any], spool: Path | None) -> Source:
    """Open an iterable. A collection never blocks; anything else may."""
    if isinstance(source, Collection):
        return ItemsSource(SpooledInput(ItemStream(source).read, path=spool, name=ROWS))
    ahead = ReadAhead(source)
    try:
        return ItemsSource(
            SpooledInput(ahead.read, path=spool, name=ROWS, ready=ahead.ready, on_close=ahead.close)
        )
    except BaseException:
        ahead.close()
        raise


def _readiness_of(stream: Any) -> Callable[[float], bool] | None:
    """Return what tells of bytes in a stream; `None` for one that a program put in its place."""
    with suppress(AttributeError, OSError, ValueError):
        return readiness(int(stream.fileno()))
    return None


def _mode(path: Path) -> int:
    """Return what kind of file this is. Raises `InvalidJob` if there is no such file."""
    try:
        with readable(shown(path)):
            return path.stat().st_mode
    except ValueError:  # a null byte, or a character that no file system can encode
        raise InvalidJob("is not a valid file name", field=shown(path)) from None
    except InvalidJob as error:
        with suppress(OSError, ValueError):
            if part_of(path).exists():
                error.message = "was not read to its end: give the same input again to go on"
        raise


def _parquet(path: Path) -> Source:
    try:
        from forebay.producers.bulk.sources.parquet import ParquetSource  # noqa: PLC0415 - an extra
    except ImportError:
        raise Misconfigured(
            "needs pyarrow: install the extra `parquet`", field=shown(path)
        ) from None
    return ParquetSource(path)


def _text_source(content: Input, form: Format) -> Source:
    if form == "items":
        return ItemsSource(content)
    if form == "csv":
        return DelimitedSource(content, CSV_DELIMITERS)
    if form == "tsv":
        return DelimitedSource(content, "\t")
    return JsonlSource(content)
