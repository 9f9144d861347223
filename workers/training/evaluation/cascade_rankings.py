"""Rankings after the local answer: by disagreement, by the packaged doubt model, by cascade models.

Disagreement of local models' answers is the signal (self-consistency across models).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from forebay.routing.learning.agreement_rates import SHRINKAGE
from forebay.routing.scoring.cascade_model import CascadeModel, Weights, with_verdict
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence, tie_break
from forebay.routing.scoring.relatives import near_relatives
from forebay.routing.scoring.router_model import Reading
from forebay.workers.checks import final_answer
from forebay.workers.training.data.dataset import Dataset, Floats, Ints, require_enough
from forebay.workers.training.data.local_answers import Answers
from forebay.workers.training.data.ranking_metrics import Ranked
from forebay.workers.training.fitting.fit_cascade import boosted, fit, require_ranks

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
    near = tuple(near_relatives(answers.names[0], other) for other in answers.names[1:])
    rates = tuple((sums / (len(agreements) + SHRINKAGE)).tolist())
    chances = np.array(
        [
            doubt.probability(
                Evidence(
                    "generate", reading.probability, reading.gap, tuple(agreed), rates,
                    near=near, bounded=not final_answer.is_number(text or ""),
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
    """Rank by cascade models that are fitted to the other folds, as a worker ranks by one.

    Raises:
        Misconfigured: There are too few prompts to fit to.
    """
    require_enough(len(data), folds)
    named, agreements = cascade_features(data, readings, answers), answers.agreements()
    names = tuple(named[0])
    rows = np.array([list(each.values()) for each in named])
    score, ok = np.zeros(len(data)), np.zeros(len(data))
    for fitted, held_out in KFold(folds, shuffle=True, random_state=seed).split(rows):
        weights = fit(names, rows[fitted], data.gap[fitted], agreements[fitted], seed=seed)
        score[held_out] = _scores(CascadeModel(weights), named, agreements, held_out)
        models = boosted(rows[fitted], data.weak[fitted], seed)
        ok[held_out] = np.mean([model.predict(rows[held_out]) for model in models], axis=0)
    return Ranked(score, data.weak, data.strong, _calibrated(ok, data.weak, folds, seed))


def fitted_to(
    data: Dataset, readings: list[Reading], answers: Answers, seed: int, *, note: Sequence[str]
) -> Weights:
    """Return the weights of a cascade model that is fitted to all of these answers.

    Raises:
        Misconfigured: The frontier's answers are better by the same everywhere.
    """
    require_ranks(data.gap, "--outcomes")
    named = cascade_features(data, readings, answers)
    rows = np.array([list(each.values()) for each in named])
    return fit(tuple(named[0]), rows, data.gap, answers.agreements(), seed=seed, note=note)


def fitted_elsewhere(
    data: Dataset, readings: list[Reading], answers: Answers, model: CascadeModel
) -> Ranked:
    """Rank by a cascade model that was fitted to other answers."""
    named = cascade_features(data, readings, answers)
    scores = _scores(model, named, answers.agreements(), np.arange(len(data)))
    return Ranked(np.array(scores), data.weak, data.strong)


def cascade_features(
    data: Dataset, readings: list[Reading], answers: Answers
) -> list[dict[str, float]]:
    """Return the inputs of the cascade model for each prompt."""
    return [
        with_verdict(features, reading.gap, reading.probability)
        for features, reading in zip(answers.features(data.prompts), readings, strict=True)
    ]


def _scores(
    model: CascadeModel, named: list[dict[str, float]], agreements: Floats, rows: Ints
) -> list[float]:
    return [model.score(named[row], agreements[row].tolist()) for row in rows]


def _calibrated(predicted: Floats, truth: Floats, folds: int, seed: int) -> Floats:
    """Turn predictions into probabilities by isotonic regression, fitted to the other folds."""
    probabilities = np.zeros(len(predicted))
    for fitted, held_out in KFold(folds, shuffle=True, random_state=seed).split(predicted):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(predicted[fitted], truth[fitted])
        probabilities[held_out] = model.predict(predicted[held_out])
    return probabilities
