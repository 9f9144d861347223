"""Fits the cascade model: boosted trees that predict the gap from numbers about local answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.cascade_model import Weights, plain_score, rank
from forebay.routing.scoring.trees import Forest
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.fitting import boosting

AVERAGED_MODELS = 3  # with different seeds
QUANTILES = 101
DECIMALS = 6


def fit(
    names: Sequence[str], rows: Floats, gap: Floats, agreements: Floats, *, seed: int = 0,
    note: Sequence[str] = (),
) -> Weights:  # fmt: skip
    """Return weights; the same rows and seed give the same weights.

    Args:
        names: the names of the features.
        rows: the features of each answer.
        gap: how much better the frontier's answer is.
        agreements: of each answer with each further answer.
        seed: of the first of several models, which are averaged.
        note: what the rows are.
    """
    packed = _averaged(boosted(rows, gap, seed)).pack()
    predicted = boosting.predict(Forest.unpack(packed), rows)
    learned = _quantiles(predicted)
    ranks = [rank(value, learned) for value in predicted.tolist()]
    pairs = zip(agreements.tolist(), ranks, strict=True)
    plain = np.array([plain_score(agreed, each) for agreed, each in pairs])
    return Weights(
        version="new", note=tuple(note), others=agreements.shape[1], features=tuple(names),
        trees=packed, learned=learned, plain=_quantiles(plain),
    )  # fmt: skip


def require_ranks(gap: Floats, field: str) -> None:
    """Check that there is something to rank.

    Raises:
        Misconfigured: The frontier's answers are better by the same everywhere.
    """
    if not np.ptp(gap):
        found = "the frontier's answers are all better than the local ones by the same"
        raise Misconfigured(f"{found}: there is nothing to rank", field=field)


def boosted(rows: Floats, target: Floats, seed: int) -> list[GradientBoostingRegressor]:
    """Return boosted trees of several seeds, fitted to these rows."""
    return [
        GradientBoostingRegressor(
            n_estimators=120, max_depth=3, learning_rate=0.04, subsample=0.5,
            max_features=0.4, min_samples_leaf=15, random_state=seed + extra,
        ).fit(rows, target)
        for extra in range(AVERAGED_MODELS)
    ]  # fmt: skip


def _averaged(models: Sequence[GradientBoostingRegressor]) -> Forest:
    """Return the mean of the models without their constants, which change no order."""
    trees = [
        boosting.nodes(each[0].tree_, model.learning_rate)
        for model in models
        for each in model.estimators_
    ]
    return boosting.scale_forest(Forest(trees), 1 / len(models))


def _quantiles(values: Floats) -> tuple[float, ...]:
    places = np.linspace(0, 1, QUANTILES)
    return tuple(np.quantile(values, places, method="lower").round(DECIMALS).tolist())
