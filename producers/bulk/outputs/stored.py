"""Reads the rows of a finished output, so that some of them can be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.delimited import stored_records
from forebay.producers.bulk.outputs.npy import stored_vectors
from forebay.producers.bulk.outputs.open_output import DELIMITERS, Format, parquet_module
from forebay.producers.bulk.outputs.output import ResultRow
from forebay.routing.errors import InvalidJob


def stored_rows(path: Path, form: Format) -> Iterator[ResultRow]:
    """Yield the rows of a finished output; an output of the same format writes each as it was.

    Raises:
        InvalidJob: The file is gone, or is no such output any more.
        Misconfigured: The format needs an extra that is not installed.
    """
    try:
        yield from _rows(path, form)
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidJob("cannot be read", field=shown(path)) from None


def _rows(path: Path, form: Format) -> Iterator[ResultRow]:
    if form == "parquet":
        rows: Iterator[ResultRow] = parquet_module().stored_batches(path)
        return rows
    if form == "npy":
        return stored_vectors(path)
    if form == "jsonl":
        return _lines(path)
    return stored_records(path, DELIMITERS[form])


def _lines(path: Path) -> Iterator[ResultRow]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
