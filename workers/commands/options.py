"""Options and tables that several commands share, and the data set that some of them name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.routing.errors import Misconfigured

if TYPE_CHECKING:
    from forebay.workers.training.data.dataset import Dataset

Prompts = Annotated[
    Path,
    typer.Option(
        "--prompts", metavar="FILE", help="Columns uid, prompt, job_type and optionally source."
    ),
]
Outcomes = Annotated[
    Path,
    typer.Option(
        "--outcomes",
        metavar="FILE",
        help="Columns uid, model, score. Several answers to one prompt count as their mean.",
    ),
]
Weak = Annotated[
    str,
    typer.Option(
        "--weak", metavar="MODEL[,MODEL]", help="The local model. Several count as their mean."
    ),
]
Strong = Annotated[
    str,
    typer.Option(
        "--strong", metavar="MODEL[,MODEL]", help="The frontier model. Several count as their mean."
    ),
]
LabelCount = Annotated[
    int | None, typer.Option("--labels", min=20, metavar="N", help="Fit on N random prompts only.")
]
Folds = Annotated[
    int | None,
    typer.Option("--folds", min=2, max=20, metavar="K", help="Cross-validate with K folds."),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**31 - 1, help="The seed of all random choices."
    ),
]
NoJobType = Annotated[
    bool, typer.Option("--no-job-type", help="Ignore job types; use the text alone.")
]
Encoder = Annotated[
    bool,
    typer.Option(
        "--encoder", help="Also fit the sentence encoder's reading of the texts (extra `cpu`)."
    ),
]
Second = Annotated[
    str | None,
    typer.Option(
        "--second", metavar="MODEL[,MODEL]", help="Local models that give a second opinion."
    ),
]
Preds = Annotated[
    Path | None,
    typer.Option(
        "--preds",
        metavar="FILE",
        help="Columns uid, model, pred. Of several answers to one prompt the first counts.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def model_names(models: str, option: str) -> list[str]:
    """Split the comma-separated names of models that an option holds.

    Raises:
        Misconfigured: There is no name, or one stands there twice.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise Misconfigured("must name a model", field=option)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise Misconfigured(f"names {repeated[0]!r} twice", field=option)
    return names


def second_names(second: str, weak: Sequence[str]) -> list[str]:
    """Return the names of `--second`, which the weak model must not be among.

    Raises:
        Misconfigured: It is, or there is no name.
    """
    names = model_names(second, "--second")
    if weak[0] in names:
        found = f"names {weak[0]!r}, whose answers these models' are compared with"
        raise Misconfigured(found, field="--second")
    return names


def read_dataset(
    prompts: Path, outcomes: Path, weak: str, strong: str, *, no_job_type: bool
) -> Dataset:
    """Read the files that --prompts and --outcomes name, for the models of --weak and --strong.

    Raises:
        Misconfigured: A file, a column or a model is missing, or a value is wrong.
    """
    from forebay.workers.training.data import dataset  # noqa: PLC0415 - of the extra `router`

    models = model_names(weak, "--weak"), model_names(strong, "--strong")
    return dataset.read(prompts, outcomes, *models, job_type=not no_job_type)


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows of cells in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
