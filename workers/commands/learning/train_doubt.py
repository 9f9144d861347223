# ruff: noqa: PLC0415 - what is of the extra `router` is imported where it is used
"""`forebay router train-doubt`: fit the doubt model's weights to local answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.options import Json, option
from forebay.workers.commands.learning.train import Out
from forebay.workers.commands.options import Outcomes, Prompts, model_names
from forebay.workers.models.writable import require_writable
from forebay.workers.training.fitting.weights_folder import DOUBT_MODEL, versioned, write

Models = Annotated[str, option("--models", "MODEL,MODEL[,MODEL]", "Two or more local models.")]


def train_doubt(
    *, prompts: Prompts, outcomes: Outcomes, models: Models, out: Out, as_json: Json = False
) -> None:
    """Fit the doubt model's weights. They say how often answers are wrong that agree, or differ.

    The outcomes need a column `pred` with the answers. If a model answered a prompt several times,
    its first answer counts, with the mean of their scores.
    """
    from forebay.workers.training.fitting.fit_doubt import fit

    names = model_names(models, "--models")
    if len(names) < 2:  # noqa: PLR2004 - an answer and another
        raise Misconfigured("must name two or more models", field="--models")
    require_writable(out, "--out")
    weights = versioned("doubt", fit(prompts, outcomes, names))
    path = write(out, DOUBT_MODEL, weights)
    document = {"version": weights.version, "path": str(path), "bytes": path.stat().st_size}
    typer.echo(json.dumps(document) if as_json else f"{weights.version}: {path}")
