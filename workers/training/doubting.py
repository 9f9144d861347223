"""From local answers to the weights of `workers.doubt`: how often is wrong what others share?

Each local model is the first once, with one and with all of the others as further opinions. The
logistic model of what was not seen is calibrated by isotonic regression, which is kept as knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from routing.difficulty import Difficulty, Reading
from routing.wire import Kind
from workers.doubt import Evidence, Weights, measures
from workers.training import secondanswers
from workers.training.dataset import Floats, read

KINDS: tuple[Kind, ...] = ("generate",)  # that the answers are of; of others nothing was seen
KNOTS = 14
FOLDS = 5
PLACES = 5


def fit(prompts: Path, outcomes: Path, models: Sequence[str]) -> Weights:
    """Weights fitted on these local models' answers (`pred`) and scores.

    Raises:
        Misconfigured: A file, a column or a model is missing.
    """
    model = Difficulty.load()
    rows, wrong, groups = [], [], []
    for first in models:
        data = read(prompts, outcomes, [first], [first], job_type=False)
        others = [name for name in models if name != first]
        answers = secondanswers.read(outcomes, data.uids, first, others)
        kept = [row for row, text in enumerate(answers.first) if text]
        readings = [model.read(data.prompts[row]) for row in kept]
        agreed = answers.agreements()[kept]
        for count in {1, len(others)}:
            rows += [
                _measured(each, seen)
                for each, seen in zip(readings, agreed[:, :count], strict=True)
            ]
            wrong += [1 - data.weak[row] for row in kept]
            groups += [data.uids[row] for row in kept]
    return _fitted(np.array(rows), np.round(wrong), groups)


def _measured(reading: Reading, agreements: Floats) -> tuple[float, float, float]:
    return measures(
        Evidence("generate", reading.probability, agreements=tuple(agreements.tolist()))
    )


def _fitted(rows: Floats, wrong: Floats, groups: Sequence[str]) -> Weights:
    unseen = np.zeros(len(rows))
    for seen, rest in GroupKFold(FOLDS).split(rows, wrong, groups):
        unseen[rest] = (
            LogisticRegression().fit(rows[seen], wrong[seen]).decision_function(rows[rest])
        )
    model = LogisticRegression().fit(rows, wrong)
    foreseen, agreed, differed = (round(float(weight), PLACES) for weight in model.coef_[0])
    return Weights(
        version="new", kinds=KINDS, start=round(float(model.intercept_[0]), PLACES),
        foreseen=foreseen, agreed=agreed, differed=differed, knots=_knots(unseen, wrong),
    )  # fmt: skip


def _knots(said: Floats, wrong: Floats) -> tuple[tuple[float, float], ...]:
    """Where isotonic regression stands in the middle of parts of equal size."""
    chances = IsotonicRegression(y_min=0, y_max=1).fit_transform(said, wrong)
    parts = np.array_split(np.argsort(said, kind="stable"), KNOTS)
    return tuple(
        (round(float(said[part].mean()), PLACES), round(float(chances[part].mean()), PLACES))
        for part in parts
    )
