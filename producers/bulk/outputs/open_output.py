"""Opens the output that a caller names."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.columns import RESULT_COLUMNS
from forebay.producers.bulk.outputs.durable_file import DurableFile
from forebay.producers.bulk.outputs.jsonl import JsonlOutput
from forebay.producers.bulk.outputs.output import Output
from forebay.routing.errors import InvalidJob

Format = Literal["jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

#: The format of a file by the end of its name.
BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


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
        columns: the columns, in their order; a row without one of them has null there.
        resume_at: the size that the last `append` that counts returned, to go on after it.
        overwrite: replace a file that exists.

    Raises:
        InvalidJob: The format is not known, or the file exists, cannot be made or is being written.
    """
    path = Path(path)
    form = format or BY_SUFFIX.get(path.suffix.lower())
    if form not in FORMATS:
        raise InvalidJob(f"must end with one of {', '.join(BY_SUFFIX)}", field=shown(path))
    return JsonlOutput(DurableFile(path, resume_at=resume_at, overwrite=overwrite), columns)
