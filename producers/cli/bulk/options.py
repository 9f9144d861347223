# ruff: noqa: PLC0415 - what is slow is imported where it is used
"""The options of `forebay bulk run`, one type each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from forebay.routing.errors import CallerError, ForebayError, InvalidJob

Rows = Annotated[
    str, typer.Argument(metavar="FILE", help="The rows: a file, a folder, or - for stdin.")
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="FILE", help="Write the results here: .jsonl, .csv, .parquet or .npy."
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", metavar="KIND", help="classify, extract, summarize, generate, decide, embed."
    ),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", metavar="COLUMN", help="The text's column. Default: text"),
]
TextForm = Annotated[
    str | None,
    typer.Option("--text", metavar="FORM", help="The text, of columns: '{title}: {body}'."),
]
SystemForm = Annotated[
    str | None, typer.Option("--system", metavar="FORM", help="generate: the system message.")
]
UserForm = Annotated[
    str | None, typer.Option("--user", metavar="FORM", help="generate: the user's message.")
]
LabelsFile = Annotated[
    str | None,
    typer.Option("--labels", metavar="FILE", help="classify: one label a line, or a JSON array."),
]
SchemaFile = Annotated[
    str | None, typer.Option("--schema", metavar="FILE", help="extract: the JSON Schema.")
]
KeyColumn = Annotated[
    str | None,
    typer.Option("--key", metavar="COLUMN", help="The column that names a row in the results."),
]
EgressColumn = Annotated[
    str | None,
    typer.Option("--egress-column", metavar="COLUMN", help="A column with deny or allow."),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="WHEN", help="Deadline of all rows: 06:00, 8h, or an ISO time."),
]
MaxUsd = Annotated[
    float | None,
    typer.Option("--max-usd", min=0, metavar="USD", help="Spend at most this on Bedrock."),
]
MaxRowUsd = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, metavar="USD", help="Spend at most this on one row."),
]
Order = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="input|any",
        show_default=False,
        help="any: write results as they come. Default: input",
    ),
]
RowsFormat = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="FORMAT", help="Of the rows: jsonl, csv, tsv, parquet or text."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the bulk of this output.")]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        min=1,
        metavar="N",
        help="Answer N rows chosen at random, and say what the whole will take.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look for bad rows, and answer none.")]
Bulk = Annotated[
    str, typer.Argument(metavar="BULK", help="The id of a bulk, or the path of its output.")
]

#: The options whose names differ from those that errors of the Python API name.
_OTHER_NAMES = {"deadline": "--by", "max_cost_usd": "--max-cost"}
_NAMES = frozenset(
    {"kind", "text", "text_field", "system", "user", "labels", "schema", "key", "egress", "order",
     "egress_column", "max_usd", "format", "out", "max_words", "focus", "max_tokens"}
)  # fmt: skip


def check_modes(
    out: str | None, *, resume: bool, overwrite: bool, sample: int | None, dry_run: bool
) -> None:
    """Raise `InvalidJob` if no output was given, or two options that exclude each other."""
    if out is None and not (sample or dry_run):
        raise InvalidJob("is missing: name the file of the results", field="--out")
    if resume and overwrite:
        raise InvalidJob("cannot be combined with --resume: give one of them", field="--overwrite")
    if dry_run and sample:
        raise InvalidJob("cannot be combined with --dry-run: give one of them", field="--sample")


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
    """Check that requests of this kind have the fields that options gave.

    Raises:
        InvalidJob: An option is for other kinds; the error names them.
    """
    from forebay.producers.cli.option_names import KINDS_WITH_FIELD
    from forebay.routing.base import KINDS

    for field in given if kind in KINDS else ():
        kinds = KINDS_WITH_FIELD.get(field, KINDS)
        if kind not in kinds:
            message = f"is an option of {' and '.join(kinds)}, not of {kind}: remove it"
            raise InvalidJob(message, field=_option(field))


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
