"""Compares routers on one file: random, type mean, verdict, second opinion, cascade, oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.router_model import Reading, RouterModel, Weights
from forebay.workers.engines.batching.embedding import SentenceEncoder
from forebay.workers.models.encoder_reading import EncoderReading, vectors_of
from forebay.workers.training.data.dataset import (
    MAX_PROMPTS,
    Dataset,
    Floats,
    Ints,
    require_enough,
)
from forebay.workers.training.data.ranking_metrics import MIN_GAP, NAMES, Ranked
from forebay.workers.training.fitting import fit_encoder
from forebay.workers.training.fitting.choose_parts import with_chosen
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.fit_router import fit
from forebay.workers.training.fitting.hyperparameters import Hyperparameters
from forebay.workers.training.fitting.type_means import TypeMeans

BOOTSTRAP_ROUNDS = 1_000
DIGITS = 4
ENCODER_SHARE = 0.5  # what the encoder's reading counts beside the verdict, in standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedFile:
    """Prompts, and the reading of each by a router model that was not fitted to it.

    Attributes:
        data: the prompts and their scores.
        readings: a reading for each prompt.
        encoded: the encoder's reading of each prompt; `None` if it was not asked for.
        type_means: the mean gap and mean score of each prompt's job type; `None` if job types are
            not used, or no model was fitted.
    """

    data: Dataset
    readings: list[Reading]
    type_means: list[Reading] | None = None
    encoded: list[float] | None = None


def zero_shot(data: Dataset, model: RouterModel) -> EvaluatedFile:
    """Evaluate a model that was fitted elsewhere on all prompts."""
    _require_gap(data)
    return EvaluatedFile(data, _readings(model, data))


def with_labels(
    data: Dataset, labels: int, seed: int, encoder: SentenceEncoder | None = None
) -> EvaluatedFile:
    """Fit a model to this many random prompts and evaluate it on the rest."""
    order = np.random.default_rng(seed).permutation(len(data))[: labels + MAX_PROMPTS]
    fitted, held_out = order[:labels], order[labels:]
    _require_gap(data.take(held_out))
    matrix = FeatureMatrix.of([data.prompts[row] for row in fitted])
    return _fit_and_read(data, fitted, held_out, seed, matrix, _Vectors.of(data, encoder))


def with_folds(
    data: Dataset, folds: int, seed: int, encoder: SentenceEncoder | None = None
) -> EvaluatedFile:
    """Evaluate by cross-validation: each fold by a model that was fitted to the other folds."""
    require_enough(len(data), folds)
    _require_gap(data)
    matrix, vectors = FeatureMatrix.of(data.prompts), _Vectors.of(data, encoder)
    parts = [
        (held_out, _fit_and_read(data, fitted, held_out, seed, matrix.take(fitted), vectors))
        for fitted, held_out in KFold(folds, shuffle=True, random_state=seed).split(data.prompts)
    ]
    order = np.argsort(np.concatenate([held_out for held_out, _ in parts]))
    readings = [reading for _, part in parts for reading in part.readings]
    means = [reading for _, part in parts for reading in part.type_means or ()]
    encoded = [value for _, part in parts for value in part.encoded or ()]
    return EvaluatedFile(
        data, [readings[row] for row in order], [means[row] for row in order] if means else None,
        [encoded[row] for row in order] if encoded else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Vectors:
    """The encoder's vectors of all prompts, made once, if its reading is evaluated."""

    encoder: SentenceEncoder | None
    vectors: Floats | None

    @classmethod
    def of(cls, data: Dataset, encoder: SentenceEncoder | None) -> _Vectors:
        return cls(encoder, vectors_of(encoder, list(data.prompts)) if encoder else None)

    def encoded(self, data: Dataset, fitted: Ints, held_out: Ints, seed: int) -> list[float] | None:
        """Return the reading of the held-out prompts by weights fitted to the others."""
        if self.encoder is None or self.vectors is None:
            return None
        train, known = data.take(fitted), self.vectors[fitted]
        weights = fit_encoder.fit(train, known, self.encoder.revision, seed=seed)
        return EncoderReading(weights, self.encoder).of_vectors(self.vectors[held_out])


def _require_gap(data: Dataset) -> None:
    """Raise `Misconfigured` if the strong models do not beat the weak ones on these prompts."""
    if data.gap.mean() < MIN_GAP:
        where = f"on the {len(data)} evaluated prompts"
        raise Misconfigured(f"no gap: {where} the weak models do as well", field="--strong")


def _fit_and_read(
    data: Dataset, fitted: Ints, held_out: Ints, seed: int, matrix: FeatureMatrix, vectors: _Vectors
) -> EvaluatedFile:
    """Fit a model to some rows, of which the matrix has the features, and read the others by it."""
    train, test = data.take(fitted), data.take(held_out)
    parameters, _ = with_chosen(train, matrix, Hyperparameters.of(train, seed=seed))
    weights: Weights = fit(train, matrix, parameters)
    means = _type_means(train, test) if train.types else None
    encoded = vectors.encoded(data, fitted, held_out, seed)
    return EvaluatedFile(test, _readings(RouterModel(weights), test), means, encoded)


def _type_means(train: Dataset, test: Dataset) -> list[Reading]:
    """Return for each test prompt the mean gap and score of its job type in the training set."""
    even, size = np.ones(len(train)), len(test)
    gaps = TypeMeans.of(train.gap, train.types, even).predict(test.types, size)
    scores = TypeMeans.of(train.weak, train.types, even).predict(test.types, size)
    return [Reading(gap, score) for gap, score in zip(gaps.tolist(), scores.tolist(), strict=True)]


def _readings(model: RouterModel, data: Dataset) -> list[Reading]:
    types: Sequence[str | None] = data.types or [None] * len(data)
    return [model.read(text, name) for text, name in zip(data.prompts, types, strict=True)]


def rankings_before_answer(evaluated: EvaluatedFile, seed: int) -> dict[str, Ranked]:
    """Return the rankings that need the prompt only, between a random one and the oracle."""
    data = evaluated.data
    chance = np.random.default_rng(seed).random(len(data))
    even = np.full(len(data), data.weak.mean())
    routers = {"random": Ranked(chance, data.weak, data.strong, even)}
    if evaluated.type_means:
        routers["type mean"] = _ranked(data, evaluated.type_means)
    routers["verdict"] = _ranked(data, evaluated.readings)
    if evaluated.encoded:
        routers["with encoder"] = _with_encoder(evaluated)
    routers["oracle"] = Ranked(data.gap, data.weak, data.strong)
    return routers


def _with_encoder(evaluated: EvaluatedFile) -> Ranked:
    """Rank by the sum of verdict and the encoder's reading, in standard deviations."""
    gaps, _ = np.array(evaluated.readings).T
    encoded = np.array(evaluated.encoded)
    summed = gaps / (gaps.std() or 1) + ENCODER_SHARE * encoded / (encoded.std() or 1)
    return Ranked(summed, evaluated.data.weak, evaluated.data.strong)


def ranking_of_chances(evaluated: EvaluatedFile, chances: Sequence[float | None]) -> Ranked:
    """Return the ranking of a model that tells only how likely the weak model is right.

    Where it tells nothing, the verdict stands, as it does in a router.
    """
    told = [
        reading if chance is None else Reading(1 - chance, chance)
        for reading, chance in zip(evaluated.readings, chances, strict=True)
    ]
    return _ranked(evaluated.data, told)


def _ranked(data: Dataset, readings: list[Reading]) -> Ranked:
    gaps, chances = np.array(readings).T
    return Ranked(gaps, data.weak, data.strong, chances)


def report(data: Dataset, routers: Mapping[str, Ranked], seed: int, total: int) -> dict[str, Any]:
    """Return a JSON document: the number of prompts, both means, every router's metrics.

    `total` is the number of prompts in the files.
    """
    return {
        "n": len(data),
        "total": total,
        "weak": round(float(data.weak.mean()) * data.scale, DIGITS),
        "strong": round(float(data.strong.mean()) * data.scale, DIGITS),
        "routers": {name: _figures(ranked, seed) for name, ranked in routers.items()},
    }


def _figures(ranked: Ranked, seed: int) -> dict[str, Any]:
    metrics, ranges = ranked.measure(), ranked.intervals(BOOTSTRAP_ROUNDS, seed)
    figures: dict[str, Any] = {name: _rounded(metrics.get(name)) for name in NAMES}
    figures["intervals"] = {
        name: [_rounded(end) for end in ranges[name]] if name in ranges else None for name in NAMES
    }
    return figures


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
