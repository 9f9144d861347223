"""Routers side by side on one file: random, type mean, verdict, second opinion, cascade, oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.router_model import Reading, RouterModel, Weights
from forebay.workers.training.data.dataset import Dataset, Ints, enough
from forebay.workers.training.data.ranking_metrics import MIN_GAP, NAMES, Ranked
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.fit_router import fit
from forebay.workers.training.fitting.hyperparameters import Hyperparameters
from forebay.workers.training.fitting.type_means import TypeMeans

ROUNDS = 1_000  # of the bootstrap
DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedFile:
    """Prompts, and what a model that was not fitted on them says of each.

    Attributes:
        usual: the mean gap and the mean score of the job type, where types are used.
    """

    data: Dataset
    readings: list[Reading]
    usual: list[Reading] | None = None


def zero_shot(data: Dataset, model: RouterModel) -> EvaluatedFile:
    """With weights from elsewhere."""
    _has_gap(data)
    return EvaluatedFile(data, _read(model, data))


def with_labels(data: Dataset, labels: int, seed: int) -> EvaluatedFile:
    """Fitted on so many random prompts, judged on the rest."""
    order = np.random.default_rng(seed).permutation(len(data))
    _has_gap(data.take(order[labels:]))
    return _judged(data, order[:labels], order[labels:], seed, FeatureMatrix.at(data.prompts))


def with_folds(data: Dataset, folds: int, seed: int) -> EvaluatedFile:
    """Each part judged by a model fitted on the other parts."""
    enough(len(data), folds)
    _has_gap(data)
    looks = FeatureMatrix.at(data.prompts)
    parts = [
        (rest, _judged(data, seen, rest, seed, looks))
        for seen, rest in KFold(folds, shuffle=True, random_state=seed).split(data.prompts)
    ]
    order = np.argsort(np.concatenate([rest for rest, _ in parts]))
    readings = [reading for _, part in parts for reading in part.readings]
    usual = [reading for _, part in parts for reading in part.usual or ()]
    return EvaluatedFile(
        data, [readings[row] for row in order], [usual[row] for row in order] if usual else None
    )


def _has_gap(judged: Dataset) -> None:
    """Raise `Misconfigured` where there is nothing to recover."""
    if judged.gap.mean() < MIN_GAP:
        judges = f"the {len(judged)} prompts that are judged"
        raise Misconfigured(f"no gap: on {judges} the weak models do as well", field="--strong")


def _judged(
    data: Dataset, seen: Ints, rest: Ints, seed: int, looks: FeatureMatrix
) -> EvaluatedFile:
    known, other = data.take(seen), data.take(rest)
    weights: Weights = fit(known, looks.take(seen), Hyperparameters.of(known, seed=seed))
    usual = _usual(known, other) if known.types else None
    return EvaluatedFile(other, _read(RouterModel(weights), other), usual)


def _usual(known: Dataset, other: Dataset) -> list[Reading]:
    """The means of the job types, as they are among the known."""
    even, size = np.ones(len(known)), len(other)
    gaps = TypeMeans.of(known.gap, known.types, even).at(other.types, size)
    oks = TypeMeans.of(known.weak, known.types, even).at(other.types, size)
    return [Reading(gap, ok) for gap, ok in zip(gaps.tolist(), oks.tolist(), strict=True)]


def _read(model: RouterModel, data: Dataset) -> list[Reading]:
    types: Sequence[str | None] = data.types or [None] * len(data)
    return [model.read(text, name) for text, name in zip(data.prompts, types, strict=True)]


def before(judged: EvaluatedFile, seed: int) -> dict[str, Ranked]:
    """The routers that know the prompt only, and the two that bound them."""
    data = judged.data
    chance = np.random.default_rng(seed).random(len(data))
    even = np.full(len(data), data.weak.mean())
    routers = {"random": Ranked(chance, data.weak, data.strong, even)}
    if judged.usual:
        routers["type mean"] = _ranked(data, judged.usual)
    routers["verdict"] = _ranked(data, judged.readings)
    routers["oracle"] = Ranked(data.gap, data.weak, data.strong)
    return routers


def _ranked(data: Dataset, readings: list[Reading]) -> Ranked:
    gaps, chances = np.array(readings).T
    return Ranked(gaps, data.weak, data.strong, chances)


def report(data: Dataset, routers: Mapping[str, Ranked], seed: int) -> dict[str, Any]:
    """One JSON document: sizes, the two means, and every router's figures with intervals."""
    return {
        "n": len(data),
        "weak": round(float(data.weak.mean()) * data.scale, DIGITS),
        "strong": round(float(data.strong.mean()) * data.scale, DIGITS),
        "routers": {name: _figures(ranked, seed) for name, ranked in routers.items()},
    }


def _figures(ranked: Ranked, seed: int) -> dict[str, Any]:
    measured, ranges = ranked.measure(), ranked.intervals(ROUNDS, seed)
    figures: dict[str, Any] = {name: _number(measured.get(name)) for name in NAMES}
    figures["intervals"] = {
        name: [_number(end) for end in ranges[name]] if name in ranges else None for name in NAMES
    }
    return figures


def _number(value: float | None) -> float | None:
    """What is not defined is null."""
    return None if value is None else round(value, DIGITS)
