"""Rankings after the answer: the plain rule, one fitted to the file, and the shipped doubt."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.routing.scoring.router_model import Reading
from forebay.workers.training.data.dataset import Dataset, Floats, enough
from forebay.workers.training.data.local_answers import Answers
from forebay.workers.training.data.ranking_metrics import Ranked

SEEDS = 3  # models averaged
_TINY = 1e-3  # what the verdict may move between two that differ equally


def plain(data: Dataset, readings: list[Reading], answers: Answers) -> Ranked:
    """The more local answers differ, the earlier it goes up; the verdict breaks ties."""
    differ = (1 - answers.agreements()).sum(axis=1)
    gaps = np.array([reading.gap for reading in readings])
    spread = float(np.ptp(gaps)) or 1.0
    return Ranked(differ + _TINY * (gaps - gaps.min()) / spread, data.weak, data.strong)


def shipped(data: Dataset, readings: list[Reading], answers: Answers) -> Ranked:
    """By the packaged model of doubt, which saw none of this file."""
    doubt = DoubtModel.load()
    agreements = answers.agreements().tolist()
    chances = np.array(
        [
            doubt.probability(Evidence("generate", reading.probability, reading.gap, tuple(agreed)))
            for reading, agreed in zip(readings, agreements, strict=True)
        ]
    )
    return Ranked(chances, data.weak, data.strong, 1 - chances)


def learned(
    data: Dataset, readings: list[Reading], answers: Answers, folds: int, seed: int
) -> Ranked:
    """By boosted trees on verdict, answer and agreement, fitted to the other folds of the file.

    Raises:
        Misconfigured: There are too few prompts.
    """
    enough(len(data), folds)
    said = [[reading.gap, reading.probability] for reading in readings]
    rows = np.column_stack([said, answers.features(data.prompts)])
    gap, ok = np.zeros(len(data)), np.zeros(len(data))
    for seen, rest in KFold(folds, shuffle=True, random_state=seed).split(rows):
        gap[rest] = _foretold(rows[seen], data.gap[seen], rows[rest], seed)
        ok[rest] = _foretold(rows[seen], data.weak[seen], rows[rest], seed)
    return Ranked(gap, data.weak, data.strong, _calibrated(ok, data.weak, folds, seed))


def _foretold(rows: Floats, target: Floats, others: Floats, seed: int) -> Floats:
    """The mean of several models."""
    said = [
        GradientBoostingRegressor(
            n_estimators=120, max_depth=3, learning_rate=0.04, subsample=0.5,
            max_features=0.4, min_samples_leaf=15, random_state=seed + extra,
        ).fit(rows, target).predict(others)
        for extra in range(SEEDS)
    ]  # fmt: skip
    return np.asarray(np.mean(said, axis=0))


def _calibrated(said: Floats, truth: Floats, folds: int, seed: int) -> Floats:
    """Chances, by isotonic regression on the other folds."""
    found = np.zeros(len(said))
    for seen, rest in KFold(folds, shuffle=True, random_state=seed).split(said):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        found[rest] = model.fit(said[seen], truth[seen]).predict(said[rest])
    return found
