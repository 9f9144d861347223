"""Opens the output that a caller names."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.columns import RESULT_COLUMNS
from forebay.producers.bulk.outputs.delimited import DelimitedOutput
from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.jsonl import JsonlOutput
from forebay.producers.bulk.outputs.npy import NpyOutput
from forebay.producers.bulk.outputs.output import Output
from forebay.routing.errors import InvalidJob, Misconfigured

Format = Literal["jsonl", "csv", "tsv", "parquet", "npy"]
DELIMITERS = {"csv": ",", "tsv": "\t"}
FORMATS: tuple[Format, ...] = get_args(Format)

#: The format of a file by the end of its name.
BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".pq": "parquet", ".npy": "npy",
}  # fmt: skip


def open_output(
    path: str | PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - the word of the command line
    columns: Sequence[str] = RESULT_COLUMNS,
    resume_at: int | None = None,
    overwrite: bool = False,
) -> Output:
    """Open an output to append rows to.

    Args:
        path: the file.
        format: by default by the end of the file's name.
        columns: the columns, in their order; a row without one of them has null there. CSV, TSV and
            Parquet add `probability` after `answer`.
        resume_at: go on after the rows that were there when `append` returned this size; 0 if it
            never returned.
        overwrite: replace a file that exists.

    Raises:
        InvalidJob: The format is not known, or the file exists, cannot be made or is being written.
    """
    path = Path(path)
    form = format_of(path, format)
    if form == "parquet":
        made: Output = parquet_module().ParquetOutput(
            path, columns, resume_at=resume_at, overwrite=overwrite
        )
        return made
    if form == "npy":
        return NpyOutput(path, columns, resume_at=resume_at, overwrite=overwrite)
    file = DurableFile(path, resume_at=resume_at, overwrite=overwrite)
    if form == "jsonl":
        return JsonlOutput(file, columns)
    return DelimitedOutput(file, columns, DELIMITERS[form])


def format_of(path: Path, given: str | None) -> Format:
    """Return the format of an output; see `open_output`.

    Raises:
        InvalidJob: The format is not known.
    """
    form = given or BY_SUFFIX.get(path.suffix.lower())
    if form not in FORMATS:
        raise InvalidJob(
            f"has no known format: end it with one of {', '.join(BY_SUFFIX)}, or give the format",
            field=shown(path),
        )
    return form


def parquet_module() -> ModuleType:
    """Return the module that writes and reads Parquet.

    Raises:
        Misconfigured: The extra is not installed.
    """
    try:
        from forebay.producers.bulk.outputs import parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise Misconfigured(
            "Parquet needs pyarrow: install the extra `parquet`", field="format"
        ) from None
    return parquet
