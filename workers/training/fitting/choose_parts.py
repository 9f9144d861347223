"""Chooses how much n-grams, features and trees count, by leaving out one source after the other.

Each source is predicted by base models that were fitted to the others. Of the mixtures whose mean
APGR is within one standard error of the best, the one with the least share of n-grams and features
is taken (the one-standard-error rule): words tell the sources apart, which does not carry over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from forebay.routing.scoring.router_model import Evidence, Parts
from forebay.workers.training.data.dataset import Dataset, Floats
from forebay.workers.training.data.ranking_metrics import Ranked
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.fit_router import base_predictions
from forebay.workers.training.fitting.hyperparameters import MIXED, Hyperparameters

#: Shares of n-grams and of features that are tried, beside trees with a share of 1.
GRAMS, FEATURES = (0.0, 0.2, 0.4, 0.7, 1.0), (0.0, 0.3, 0.6, 1.0)
MIN_PROMPTS = 100  # of a source that is left out; the APGR of fewer is noise
MIN_SOURCES = 3  # that can be left out; with fewer, `MIXED` is taken
MIN_GAP = 0.01  # between local and frontier scores of a source; without one no APGR is defined
DECIMALS = 3


def choose(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters
) -> tuple[Parts, tuple[Evidence, ...]]:
    """Return the shares that are chosen, and what each mixture reaches on each source."""
    left_out = _usable(data)
    if len(left_out) < MIN_SOURCES:
        return MIXED, ()
    candidates = [(*pair, 1.0) for pair in product(GRAMS, FEATURES)]
    reached = np.array(
        [_reached(data, matrix, parameters, name, candidates) for name in left_out]
    ).T
    evidence = tuple(
        Evidence(parts=parts, apgr=dict(zip(left_out, row.round(DECIMALS).tolist(), strict=True)))
        for parts, row in zip(candidates, reached, strict=True)
    )
    return candidates[simplest_of_best(candidates, reached)], evidence


def with_chosen(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters
) -> tuple[Hyperparameters, tuple[Evidence, ...]]:
    """Return the hyperparameters with chosen shares if there are several sources, and why."""
    if len(set(data.sources)) == 1:
        return parameters, ()
    parts, evidence = choose(data, matrix, parameters)
    return replace(parameters, parts=parts), evidence


def simplest_of_best(candidates: Sequence[Parts], reached: Floats) -> int:
    """Return the place of the simplest mixture that is within one standard error of the best.

    The standard error is that of the mean difference to the best over the sources.
    """
    means = reached.mean(axis=1)
    best = int(means.argmax())
    errors = (reached[best] - reached).std(axis=1, ddof=1) / np.sqrt(reached.shape[1])
    near = [at for at in range(len(candidates)) if means[best] - means[at] <= errors[at]]
    return min(near, key=lambda at: (sum(candidates[at][:2]), -means[at]))


def _usable(data: Dataset) -> list[str]:
    """Return the sources that can be left out: not too small, and with a gap."""
    sources, gaps = np.array(data.sources), data.gap
    return [
        str(name)
        for name in np.unique(sources)
        if (sources == name).sum() >= MIN_PROMPTS and gaps[sources == name].mean() >= MIN_GAP
    ]


def _reached(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters, source: str,
    candidates: Sequence[Parts],
) -> list[float]:  # fmt: skip
    """Return the APGR of each mixture on a source that the base models were not fitted to."""
    is_left_out = np.array(data.sources) == source
    fitted, held_out = np.flatnonzero(~is_left_out), np.flatnonzero(is_left_out)
    predicted = base_predictions(data, matrix, parameters, fitted, held_out)
    width = predicted.std(axis=0)
    scaled = predicted / np.where(width > 0, width, 1.0)
    tested = data.take(held_out)
    return [
        Ranked(scaled @ np.array(parts), tested.weak, tested.strong).measure()["apgr"]
        for parts in candidates
    ]
