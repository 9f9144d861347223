# ruff: noqa: PLC0415 - what is slow, or of the extra `router`, is imported where it is used
"""`forebay router train`: fit the router model's weights to outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.routing.learning.versions import Models
from forebay.routing.scoring.router_model import RouterModel
from forebay.routing.settings import read_settings
from forebay.routing.store.connection import connect
from forebay.routing.terminal.options import Json, flag, option
from forebay.workers.commands.learning.publish import publish_weights
from forebay.workers.commands.options import (
    Encoder,
    Folds,
    LabelCount,
    NoJobType,
    Outcomes,
    Prompts,
    Seed,
    Strong,
    Weak,
    model_names,
    read_dataset,
)
from forebay.workers.models.writable import require_writable
from forebay.workers.training.fitting.weights_folder import (
    ENCODER_MODEL,
    ROUTER_MODEL,
    versioned,
    write,
)

if TYPE_CHECKING:
    from forebay.routing.scoring.router_model import Weights
    from forebay.workers.models.encoder_reading import EncoderWeights
    from forebay.workers.training.data.dataset import Dataset

Out = Annotated[Path, option("--out", "DIR", "Write the weights to this folder.")]
Publish = Annotated[bool, flag("--publish", "Have the fleet use the weights, as `publish` does.")]


def train(
    *, prompts: Prompts, outcomes: Outcomes, weak: Weak, strong: Strong, out: Out,
    labels: LabelCount = None, folds: Folds = 4, seed: Seed = 0, no_job_type: NoJobType = False,
    encoder: Encoder = False, publish: Publish = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit the router model's weights. The same files and options give the same bytes.

    The files are Parquet, or CSV or JSON Lines (.csv, .jsonl, .csv.gz, .jsonl.gz).

    --labels N fits on N random prompts instead of all, which are at most 50,000. --folds K is the
    number of folds for the out-of-fold predictions on which the three text models are stacked. If
    the column `source` has several values, the weights are fitted for texts from elsewhere: without
    what differs between sources, and in other shares than the stated ones only if these are clearly
    better on sources left out. Without that column they fit texts like those of the file.

    --encoder writes encoder_model.json too: set FOREBAY_ROUTER_ENCODER to it, and routers read each
    text by the sentence encoder as well. `forebay calibrate` gives this reading a weight in the
    score if it is better on audits that were held back.

    --publish has the fleet use the weights; `forebay router publish` does it later, and undoes it.
    """
    from forebay.workers.training.fitting.choose_parts import with_chosen
    from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
    from forebay.workers.training.fitting.fit_router import fit
    from forebay.workers.training.fitting.hyperparameters import Hyperparameters

    require_writable(out, "--out")
    if publish:  # known before a fit that may take minutes
        Models(connect(read_settings(), "look"), RouterModel).current()
    data = read_dataset(prompts, outcomes, weak, strong, no_job_type=no_job_type)
    total, data = len(data), _sample(data, labels, seed)
    parameters = Hyperparameters.of(data, folds=folds or 4, seed=seed)
    note = _note(data, model_names(weak, "--weak"), model_names(strong, "--strong"), seed)
    features = FeatureMatrix.of(data.prompts)
    parameters, evidence = with_chosen(data, features, parameters)
    fitted = fit(data, features, parameters, note=note, evidence=evidence)
    weights = versioned("text", fitted)
    if encoder:
        write(out, ENCODER_MODEL, versioned("encoder", _encoder_weights(data, seed, note)))
    path = write(out, ROUTER_MODEL, weights)
    published = _published(path) if publish else None
    _report(weights, path, (len(data), total), published, as_json=as_json)


def _encoder_weights(data: Dataset, seed: int, note: list[str]) -> EncoderWeights:
    from forebay.workers.engines.batching.embedding import SentenceEncoder
    from forebay.workers.models.encoder_reading import vectors_of
    from forebay.workers.training.fitting import fit_encoder

    encoder = SentenceEncoder()
    vectors = vectors_of(encoder, list(data.prompts))
    return fit_encoder.fit(data, vectors, encoder.revision, seed=seed, note=note)


def _sample(data: Dataset, labels: int | None, seed: int) -> Dataset:
    import numpy as np

    from forebay.workers.training.data.dataset import require_enough

    if labels is not None and labels < len(data):
        data = data.take(np.random.default_rng(seed).permutation(len(data))[:labels])
    require_enough(len(data))
    return data.to_fit(seed)


def _note(data: Dataset, weak: list[str], strong: list[str], seed: int) -> list[str]:
    """Return what the weights were fitted to, for people who read the weights file."""
    types = "with" if data.types else "without"
    gap = f"mean gap {data.gap.mean():.4f}"
    return [
        f"Fitted on {len(data)} prompts, {types} job types, seed {seed}: {gap}.",
        f"Local: {', '.join(weak)}.",
        f"Frontier: {', '.join(strong)}.",
    ]


def _published(path: Path) -> int:
    """Publish the weights and return their number."""
    settings = read_settings()
    return publish_weights(connect(settings, "look"), settings, path).version


def _report(
    weights: Weights, path: Path, counts: tuple[int, int], published: int | None, *, as_json: bool
) -> None:
    fitted, total = counts
    document: dict[str, Any] = {
        "version": weights.version, "prompts": fitted, "total": total, "path": str(path),
        "bytes": path.stat().st_size, "published": published,
    }  # fmt: skip
    words = f", fitted to {fitted} of {total} prompts" if fitted < total else ""
    words += f", in force as version {published}" if published else ""
    typer.echo(json.dumps(document) if as_json else f"{weights.version}: {path}{words}")
