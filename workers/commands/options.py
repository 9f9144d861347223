"""Options and tables that several commands share, and the data set that some of them name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from forebay.workers.training.data.dataset import Dataset

Prompts = Annotated[
    Path,
    typer.Option(
        "--prompts", metavar="FILE", help="Parquet: uid, prompt, job_type and optionally source."
    ),
]
Outcomes = Annotated[
    Path,
    typer.Option(
        "--outcomes",
        metavar="FILE",
        help="Parquet: uid, model, score. Several answers to one prompt count as their mean.",
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
    int, typer.Option("--seed", min=0, max=2**31 - 1, help="The seed of all random choices.")
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
        help="Parquet: uid, model, pred. Of several answers to one prompt the first counts.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def model_names(models: str) -> list[str]:
    """Split a comma-separated list of model names."""
    return [name.strip() for name in models.split(",") if name.strip()]


def read_dataset(
    prompts: Path, outcomes: Path, weak: str, strong: str, *, no_job_type: bool
) -> Dataset:
    """Read the files that --prompts and --outcomes name, for the models of --weak and --strong.

    Raises:
        Misconfigured: A file, a column or a model is missing, or a value is wrong.
    """
    from forebay.workers.training.data import dataset  # noqa: PLC0415 - of the extra `router`

    return dataset.read(
        prompts, outcomes, model_names(weak), model_names(strong), job_type=not no_job_type
    )


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows of cells in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
