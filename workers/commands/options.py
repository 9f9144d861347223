"""Options that `train` and `eval` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prompts = Annotated[
    Path,
    typer.Option(
        "--prompts", metavar="FILE", help="Parquet: uid, prompt, job_type; source may be there."
    ),
]
Outcomes = Annotated[
    Path,
    typer.Option(
        "--outcomes",
        metavar="FILE",
        help="Parquet: uid, model, score; of a model's answers to one prompt the mean counts.",
    ),
]
Weak = Annotated[
    str, typer.Option("--weak", metavar="MODEL[,MODEL]", help="Local; of several the mean counts.")
]
Strong = Annotated[
    str, typer.Option("--strong", metavar="MODEL[,MODEL]", help="Of the frontier, likewise.")
]
LabelCount = Annotated[
    int | None, typer.Option("--labels", min=20, metavar="N", help="Fit on N random prompts.")
]
Folds = Annotated[
    int | None, typer.Option("--folds", min=2, max=20, metavar="K", help="Cross-validate in K.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of all that is drawn.")]
NoJobType = Annotated[
    bool, typer.Option("--no-job-type", help="By the text alone, without job types.")
]
Json = Annotated[bool, typer.Option("--json", help="Exactly one JSON document on stdout.")]


def names(models: str) -> list[str]:
    """The models of a list with commas."""
    return [name.strip() for name in models.split(",") if name.strip()]
