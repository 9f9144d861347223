# ruff: noqa: PLC0415 - what is slow, or of the extra `router`, is imported where it is used
"""`forebay router train`: weights from outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.workers.commands.options import (
    Folds,
    Json,
    LabelCount,
    NoJobType,
    Outcomes,
    Prompts,
    Seed,
    Strong,
    Weak,
    names,
)
from forebay.workers.training.fitting.weights_folder import WEIGHTS, versioned, write

if TYPE_CHECKING:
    from forebay.routing.scoring.router_model import Weights
    from forebay.workers.training.data.dataset import Dataset

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the weights are written.")]


def train(
    *,
    prompts: Prompts,
    outcomes: Outcomes,
    weak: Weak,
    strong: Strong,
    out: Out,
    labels: LabelCount = None,
    folds: Folds = 4,
    seed: Seed = 0,
    no_job_type: NoJobType = False,
    as_json: Json = False,
) -> None:
    """Fit the router's weights. The same files and options give the same bytes.

    \b
    --labels N takes N random prompts instead of all. --folds K is the number of parts in which
    what each reading of a text is worth is found. Where a column `source` in the prompts has
    several values, what tells one source from another is kept out of the weights: such a mixture of
    benchmarks is to help with texts unlike it. Leave that column out to fit for texts like these.
    """  # noqa: D301 - \b is Click's
    from forebay.workers.training.data import dataset
    from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
    from forebay.workers.training.fitting.fit_router import fit
    from forebay.workers.training.fitting.hyperparameters import Hyperparameters

    data = dataset.read(prompts, outcomes, names(weak), names(strong), job_type=not no_job_type)
    data = _sample(data, labels, seed)
    recipe = Hyperparameters.of(data, folds=folds or 4, seed=seed)
    note = _note(data, names(weak), names(strong), seed)
    weights = versioned("text", fit(data, FeatureMatrix.at(data.prompts), recipe, note=note))
    _tell(weights, write(out, WEIGHTS, weights), len(data), as_json=as_json)


def _sample(data: Dataset, labels: int | None, seed: int) -> Dataset:
    import numpy as np

    from forebay.workers.training.data.dataset import enough

    if labels is not None and labels < len(data):
        data = data.take(np.random.default_rng(seed).permutation(len(data))[:labels])
    enough(len(data))
    return data


def _note(data: Dataset, weak: list[str], strong: list[str], seed: int) -> list[str]:
    """What the weights rest on, for who reads the file."""
    types = "with" if data.types else "without"
    gap = f"mean gap {data.gap.mean():.4f}"
    return [
        f"Fitted on {len(data)} prompts, {types} job types, seed {seed}: {gap}.",
        f"Local: {', '.join(weak)}.",
        f"Frontier: {', '.join(strong)}.",
    ]


def _tell(weights: Weights, path: Path, count: int, *, as_json: bool) -> None:
    told: dict[str, Any] = {
        "version": weights.version, "prompts": count, "path": str(path),
        "bytes": path.stat().st_size,
    }  # fmt: skip
    typer.echo(json.dumps(told) if as_json else f"{told['version']}: {path}")
