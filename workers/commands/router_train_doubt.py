# ruff: noqa: PLC0415 - what is of the extra `router` is imported where it is used
"""`forebay router train-doubt`: the weights of doubt, from local answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.workers.commands.options import Json, Outcomes, Prompts, names
from forebay.workers.commands.router_train import Out
from forebay.workers.training.fitting.weights_folder import DOUBT, versioned, write

Models = Annotated[
    str, typer.Option("--models", metavar="MODEL,MODEL[,MODEL]", help="Local, two or more.")
]


def train_doubt(
    *, prompts: Prompts, outcomes: Outcomes, models: Models, out: Out, as_json: Json = False
) -> None:
    """Fit how far to doubt a local answer. The outcomes need a column `pred`, their answers.

    Of a model's answers to one prompt the first counts, with their mean score.
    """
    from forebay.workers.training.fitting.fit_doubt import fit

    asked = names(models)
    if len(asked) < 2:  # noqa: PLR2004 - an answer and another
        raise Misconfigured("needs two models or more", field="--models")
    weights = versioned("doubt", fit(prompts, outcomes, asked))
    path = write(out, DOUBT, weights)
    told = {"version": weights.version, "path": str(path), "bytes": path.stat().st_size}
    typer.echo(json.dumps(told) if as_json else f"{weights.version}: {path}")
