"""Rankings after the local answer: by disagreement, by the packaged doubt model, by boosted trees.

Disagreement of local models' answers is the signal (self-consistency across models).
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from forebay.routing.learning.agreement_rates import SHRINKAGE
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence, tie_break
from forebay.routing.scoring.router_model import Reading
from forebay.workers.checks import final_answer
from forebay.workers.training.data.dataset import Dataset, Floats, require_enough
from forebay.workers.training.data.local_answers import Answers
from forebay.workers.training.data.ranking_metrics import Ranked

AVERAGED_MODELS = 3  # with different seeds
_TIE_BREAK = 1e-3  # the most that the verdict adds to a score, to order equal disagreements


def plain(data: Dataset, readings: list[Reading], answers: Answers) -> Ranked:
    """Rank by how much the local answers differ; the verdict breaks ties."""
    differ = (1 - answers.agreements()).sum(axis=1)
    gaps = np.array([reading.gap for reading in readings])
    spread = float(np.ptp(gaps)) or 1.0
    return Ranked(differ + _TIE_BREAK * (gaps - gaps.min()) / spread, data.weak, data.strong)


def shipped(data: Dataset, readings: list[Reading], answers: Answers) -> Ranked:
    """Rank by the packaged doubt model, which is not fitted to this file.

    It knows how often these models agree, as a worker does that has answered these prompts.
    """
    doubt, agreements = DoubtModel.load(), answers.agreements()
    sums = agreements.sum(axis=0) + SHRINKAGE * doubt.usual_rate
    rates = tuple((sums / (len(agreements) + SHRINKAGE)).tolist())
    chances = np.array(
        [
            doubt.probability(
                Evidence(
                    "generate", reading.probability, reading.gap, tuple(agreed), rates,
                    bounded=isinstance(final_answer.final_answer(text or ""), str | bool),
                )
            )
            for reading, agreed, text in zip(
                readings, agreements.tolist(), answers.first, strict=True
            )
        ]
    )  # fmt: skip
    ties = [tie_break(reading.gap) for reading in readings]
    return Ranked(chances + ties, data.weak, data.strong, 1 - chances)


def learned(
    data: Dataset, readings: list[Reading], answers: Answers, folds: int, seed: int
) -> Ranked:
    """Rank by gradient boosting on verdict, answers and agreement, predicted out of fold.

    Raises:
        Misconfigured: There are too few prompts to fit to.
    """
    require_enough(len(data), folds)
    verdicts = [[reading.gap, reading.probability] for reading in readings]
    rows = np.column_stack([verdicts, answers.features(data.prompts)])
    gap, ok = np.zeros(len(data)), np.zeros(len(data))
    for fitted, held_out in KFold(folds, shuffle=True, random_state=seed).split(rows):
        gap[held_out] = _predicted(rows[fitted], data.gap[fitted], rows[held_out], seed)
        ok[held_out] = _predicted(rows[fitted], data.weak[fitted], rows[held_out], seed)
    return Ranked(gap, data.weak, data.strong, _calibrated(ok, data.weak, folds, seed))


def _predicted(rows: Floats, target: Floats, others: Floats, seed: int) -> Floats:
    """Fit boosted trees to the rows; return the mean prediction of several seeds for the others."""
    predictions = [
        GradientBoostingRegressor(
            n_estimators=120, max_depth=3, learning_rate=0.04, subsample=0.5,
            max_features=0.4, min_samples_leaf=15, random_state=seed + extra,
        ).fit(rows, target).predict(others)
        for extra in range(AVERAGED_MODELS)
    ]  # fmt: skip
    return np.asarray(np.mean(predictions, axis=0))


def _calibrated(predicted: Floats, truth: Floats, folds: int, seed: int) -> Floats:
    """Turn predictions into probabilities by isotonic regression, fitted to the other folds."""
    probabilities = np.zeros(len(predicted))
    for fitted, held_out in KFold(folds, shuffle=True, random_state=seed).split(predicted):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(predicted[fitted], truth[fitted])
        probabilities[held_out] = model.predict(predicted[held_out])
    return probabilities
