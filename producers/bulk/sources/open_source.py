"""Opens whatever a caller names as the input of a bulk."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.sources.inputs import FileInput, Input
from forebay.producers.bulk.sources.items import ItemsSource, ItemStream
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.sources.spooled import SpooledInput
from forebay.routing.errors import InvalidJob

Format = Literal["jsonl", "items"]
FORMATS: tuple[Format, ...] = get_args(Format)

STDIN = "-"

#: The format of a file by the end of its name.
BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


def open_source(
    source: str | PathLike[str] | Iterable[Any],
    *,
    format: Format | None = None,  # noqa: A002 - the word of the command line
    spool: Path | None = None,
) -> Source:
    """Open the input of a bulk.

    Args:
        source: the name of a file or a folder, `-` for standard input, or an iterable of mappings,
            strings, requests or jobs.
        format: the format; by default by the end of the file's name, `text` for a folder, and
            `jsonl` for standard input. `items` is the format of a spool that an iterable filled.
        spool: a file that keeps what comes from standard input or an iterable, so that another
            process can read it again; without it, a temporary file.

    Raises:
        InvalidJob: The input does not exist, or has no format that is known.
    """
    if format is not None and format not in FORMATS:
        raise InvalidJob(f"must be one of {', '.join(FORMATS)}", field="format")
    if isinstance(source, str) and source == STDIN:
        read: Any = sys.stdin.buffer
        stdin = SpooledInput(read.read1, path=spool, name="standard input")
        return _text_source(stdin, format or "jsonl")
    if isinstance(source, str | PathLike):
        return _open_path(Path(source), format)
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        items = ItemStream(source)
        return ItemsSource(SpooledInput(items.read, path=spool, name="rows"))
    wrong = type(source).__name__
    raise InvalidJob(f"must be a file, a folder, - or an iterable, not {wrong}", field="source")


def _open_path(path: Path, form: Format | None) -> Source:
    content = FileInput(path)
    with content.open():
        pass
    form = form or BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise InvalidJob(
            f"has no known format; give one of {', '.join(FORMATS)}", field=shown(path)
        )
    return _text_source(content, form)


def _text_source(content: Input, form: Format) -> Source:
    if form == "items":
        return ItemsSource(content)
    return JsonlSource(content)
