"""Chooses how much n-grams, features and trees count, by leaving out one source after the other.

Each source is predicted by base models that were fitted to the others. The stated mixture stays
unless another one is better by more than chance: a few sources are little to choose by, and of
twenty mixtures some look better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from scipy.stats import t

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
#: The chance that any of the mixtures is taken although none is better than the stated one.
MAX_CHANCE = 0.05
MIN_GAP = 0.01  # between local and frontier scores of a source; without one no APGR is defined
DECIMALS = 3


def choose(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters
) -> tuple[Parts, tuple[Evidence, ...]]:
    """Return the shares that are chosen, and what each mixture reaches on each source."""
    left_out = _usable(data)
    if len(left_out) < MIN_SOURCES:
        return MIXED, ()
    candidates: list[Parts] = [(*pair, 1.0) for pair in product(GRAMS, FEATURES)]
    reached = np.array(
        [_reached(data, matrix, parameters, name, candidates) for name in left_out]
    ).T
    evidence = tuple(
        Evidence(parts=parts, apgr=dict(zip(left_out, row.round(DECIMALS).tolist(), strict=True)))
        for parts, row in zip(candidates, reached, strict=True)
    )
    return candidates[best_by_more_than_chance(reached, candidates.index(MIXED))], evidence


def with_chosen(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters
) -> tuple[Hyperparameters, tuple[Evidence, ...]]:
    """Return the hyperparameters with chosen shares if there are several sources, and why."""
    if len(set(data.sources)) == 1:
        return parameters, ()
    parts, evidence = choose(data, matrix, parameters)
    return replace(parameters, parts=parts), evidence


def best_by_more_than_chance(reached: Floats, stated: int) -> int:
    """Return the place of the best mixture, or that of the stated one if none is clearly better.

    A one-sided paired t-test over the sources, for as many comparisons as there are other mixtures
    (Bonferroni).
    """
    others, sources = len(reached) - 1, reached.shape[1]
    gains = reached - reached[stated]
    errors = gains.std(axis=1, ddof=1) / np.sqrt(sources)
    least = t.ppf(1 - MAX_CHANCE / others, sources - 1) * errors
    clear = np.where(gains.mean(axis=1) > least, gains.mean(axis=1), 0.0)
    return int(clear.argmax()) if clear.any() else stated


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
