"""Read the files of a bill: Bedrock's invocation logs, or Cost and Usage Reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from forebay.routing.books.bills.cost_report import ACCOUNT, COST, CURRENCY, KIND, PRODUCT, START
from forebay.routing.books.invocations import Invocation, read_invocations, read_text
from forebay.routing.errors import InvalidJob, Misconfigured

Sort = Literal["invocations", "costs"]

_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet", ".gz", ".out")
_HEAD_LETTERS = 20_000  # in which a report names its columns
_PARQUET = b"PAR1"
_WANTED = {*ACCOUNT, *COST, *CURRENCY, *KIND, *PRODUCT, *START}


def bill_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and those in folders that are named, in order.

    A folder `data` is passed over: Bedrock puts large bodies there, which are no records.

    Raises:
        InvalidJob: A folder has no file of a bill.
    """
    found: list[Path] = []
    for path in paths:
        inside = [
            one for one in sorted(path.rglob("*"))
            if one.is_file() and one.suffix in _SUFFIXES
            and "data" not in one.relative_to(path).parts[:-1]
        ] if path.is_dir() else [path]  # fmt: skip
        if not inside:
            raise InvalidJob(f"{path} holds no file of a bill", field="FILE")
        found += inside
    return found


def sort_of(files: Sequence[Path]) -> Sort:
    """Return what the files are.

    Raises:
        InvalidJob: They are not all of one sort, or one cannot be read.
    """
    sorts = {_sort(path) for path in files}
    if len(sorts) > 1:
        hint = "name invocation logs or cost reports, not both in one run"
        raise InvalidJob(hint, field="FILE")
    return sorts.pop()


def invocations(files: Sequence[Path]) -> list[Invocation]:
    """Return the calls in all files."""
    return [one for path in files for one in read_invocations(path)]


def cost_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Return the rows of all files of a Cost and Usage Report, CSV or Parquet."""
    return chain.from_iterable(
        _parquet_rows(path) if _is_parquet(path) else _csv_rows(path) for path in files
    )


def _sort(path: Path) -> Sort:
    if _is_parquet(path):
        return "costs"
    head = read_text(path)[:_HEAD_LETTERS].partition("\n")[0]
    return "costs" if any(name in head for name in COST) else "invocations"


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read: {error.strerror}", field="FILE") from None


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from csv.DictReader(io.StringIO(read_text(path), newline=""))
    except csv.Error as error:
        raise InvalidJob(f"{path} is no CSV: {error}", field="FILE") from None


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "a report in Parquet needs pyarrow: install the extra `parquet`, or export CSV"
        raise Misconfigured(hint, field="FILE") from None
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        columns = [name for name in names if name in _WANTED or name.startswith("product")]
        for batch in file.iter_batches(columns=columns):
            yield from (_plain(row) for row in batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError):
        raise InvalidJob(f"{path} is no whole file of Parquet", field="FILE") from None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose times are words, as in CSV."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }
