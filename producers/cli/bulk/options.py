# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The options of `forebay bulk run`, one type each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from forebay.producers.bulk.names import shown
from forebay.routing.errors import CallerError, ForebayError, InvalidJob
from forebay.routing.terminal.options import argument, flag, option

Rows = Annotated[str, argument("FILE", "The rows: a file, a folder, or - for stdin.")]
Out = Annotated[
    str | None, option("--out", "FILE", "Write the results here: .jsonl, .csv, .parquet or .npy.")
]
Kind = Annotated[
    str | None, option("--kind", "KIND", "classify, extract, summarize, generate, decide, embed.")
]
TextField = Annotated[
    str | None, option("--text-field", "COLUMN", "The text's column. Default: text")
]
TextForm = Annotated[
    str | None, option("--text", "FORM", "The text, of columns: '{title}: {body}'.")
]
SystemForm = Annotated[str | None, option("--system", "FORM", "generate: the system message.")]
UserForm = Annotated[str | None, option("--user", "FORM", "generate: the user's message.")]
LabelsFile = Annotated[
    str | None, option("--labels", "FILE", "classify: one label a line, or a JSON array.")
]
Label = Annotated[
    list[str] | None, option("--label", "NAME", "classify: a label to choose from. Repeat it.")
]
SchemaFile = Annotated[str | None, option("--schema", "FILE", "extract: the JSON Schema.")]
KeyColumn = Annotated[
    str | None, option("--key", "COLUMN", "The column that names a row in the results.")
]
EgressColumn = Annotated[
    str | None, option("--egress-column", "COLUMN", "A column with deny or allow.")
]
By = Annotated[
    str | None, option("--by", "WHEN", "Deadline of all rows: 06:00, 8h, or an ISO time.")
]
MaxUsd = Annotated[
    float | None, option("--max-usd", "USD", "Spend at most this on Bedrock.", min=0)
]
MaxRowUsd = Annotated[
    float | None, option("--max-cost", "USD", "Spend at most this on one row.", min=0)
]
Order = Annotated[
    str,
    option(
        "--order",
        "input|any",
        "any: write results as they come. Default: input",
        show_default=False,
    ),
]
RowsFormat = Annotated[
    str | None, option("--format", "FORMAT", "Of the rows: jsonl, csv, tsv, parquet or text.")
]
Overwrite = Annotated[bool, flag("--overwrite", "Replace an output that exists.")]
Resume = Annotated[bool, flag("--resume", "Go on with the bulk of this output.")]
Sample = Annotated[
    int | None,
    option(
        "--sample", "N", "Answer N rows chosen at random, and say what the whole will take.", min=1
    ),
]
DryRun = Annotated[bool, flag("--dry-run", "Look for bad rows, and answer none.")]
Bulk = Annotated[str, argument("BULK", "The id of a bulk, or the path of its output.")]

#: The options whose names differ from those that errors of the Python API name.
_OTHER_NAMES = {"deadline": "--by", "max_cost_usd": "--max-cost"}
_NAMES = frozenset(
    {"kind", "text", "text_field", "system", "user", "labels", "schema", "key", "egress", "order",
     "egress_column", "max_usd", "format", "out", "max_words", "focus", "max_tokens"}
)  # fmt: skip


def goes_on(
    out: str | None, *, resume: bool, overwrite: bool, sample: int | None, dry_run: bool
) -> bool:
    """Return whether an earlier bulk is resumed.

    Raises:
        InvalidJob: No output was given, or two options that exclude each other.
    """
    if out is None and not (sample or dry_run):
        raise InvalidJob("is missing: name the file of the results", field="--out")
    if resume and overwrite:
        raise InvalidJob("cannot be combined with --resume: give one of them", field="--overwrite")
    if dry_run and sample:
        raise InvalidJob("cannot be combined with --dry-run: give one of them", field="--sample")
    return resume and out is not None


def labels_of(names: list[str] | None, file: str | None) -> list[str] | Path | None:
    """Return the labels that were named, or the file that holds them; `None` if neither is given.

    Raises:
        InvalidJob: Both are given, or there is no such file.
    """
    if names and file:
        raise InvalidJob("cannot be combined with --label: give one of them", field="--labels")
    if file and not Path(file).exists():
        wrong = f"there is no file {shown(Path(file))}; --label names a label itself"
        raise InvalidJob(wrong, field="--labels")
    return names or (Path(file) if file else None)


@contextmanager
def naming_options() -> Iterator[None]:
    """Name the option of the command line in an error about an argument."""
    try:
        yield
    except ForebayError as error:
        name, *path = (error.field or "").split(".")
        if name == "questions" and isinstance(error, CallerError):
            from forebay.producers.cli.option_names import in_words

            raise type(error)(in_words(error, name, path), field="--question") from None
        if name in _NAMES and not path:
            error.field = f"--{name.replace('_', '-')}"
        error.field = _OTHER_NAMES.get(name, error.field)
        raise


def check_kind(kind: str | None, given: Collection[str]) -> None:
    """Check that requests of this kind have the fields that options gave."""
    from forebay.producers.cli.option_names import check_options_fit
    from forebay.routing.base import KINDS

    if kind in KINDS:
        check_options_fit(kind, given, _option)


def _option(field: str) -> str:
    return "--question" if field == "questions" else f"--{field.replace('_', '-')}"


def read_by(text: str) -> Any:
    """Return the time that `--by` names: a time of day, a span from now, or an ISO time."""
    from forebay.producers.cli.bulk.progress import next_time_of_day
    from forebay.producers.cli.job_input import read_deadline

    try:
        return next_time_of_day(text) or read_deadline(text)
    except InvalidJob as error:
        words = error.message.replace("must be ", "must be a time of day like 06:00, ")
        raise InvalidJob(words, field="--by") from None


def read_questions(*given: Any) -> Any:
    """Return the questions of `--questions`, `--question` and `--choice`; see `job_input`."""
    from forebay.producers.cli import job_input

    return job_input.read_questions(*given)
