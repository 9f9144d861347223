"""From local answers to the weights of `forebay.routing.scoring.doubt_model`: how often is wrong what others share?

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

from forebay.routing.base import Kind
from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.doubt_model import Evidence, Weights, measures
from forebay.routing.scoring.router_model import Reading, RouterModel
from forebay.workers.training.data import local_answers
from forebay.workers.training.data.dataset import Floats, enough, read

KINDS: tuple[Kind, ...] = ("generate",)  # that the answers are of; of others nothing was seen
KNOTS = 14
RISE = 0.001  # from knot to knot, at the least

#: Not fitted, since the verdict was, on the same questions. It says what there is to gain and not
#: what is wrong: among answers that others share equally, the order is its own.
FORESEEN = 1.0
FOLDS = 5
PLACES = 5


def fit(prompts: Path, outcomes: Path, models: Sequence[str]) -> Weights:
    """Weights fitted on these local models' answers (`pred`) and scores.

    Raises:
        Misconfigured: A file, a column or a model is missing, or there is too little to learn from.
    """
    model = RouterModel.load()
    rows, wrong, groups = [], [], []
    for first in models:
        data = read(prompts, outcomes, [first], [first], job_type=False)
        others = [name for name in models if name != first]
        answers = local_answers.read(outcomes, data.uids, first, others)
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
    enough(len(set(groups)))
    return _fitted(np.array(rows), np.round(wrong), groups)


def _measured(reading: Reading, agreements: Floats) -> tuple[float, float, float]:
    agreed = tuple(agreements.tolist())
    return measures(Evidence("generate", reading.probability, reading.gap, agreed))


def _fitted(rows: Floats, wrong: Floats, groups: Sequence[str]) -> Weights:
    foreseen, counts = FORESEEN * rows[:, 0], rows[:, 1:]
    unseen = np.zeros(len(rows))
    for seen, rest in GroupKFold(FOLDS).split(counts, wrong, groups):
        model = _logistic(counts[seen], wrong[seen])
        unseen[rest] = foreseen[rest] + model.decision_function(counts[rest])
    model = _logistic(counts, wrong)
    agreed, differed = (round(float(weight), PLACES) for weight in model.coef_[0])
    return Weights(
        version="new", kinds=KINDS, start=round(float(model.intercept_[0]), PLACES),
        foreseen=FORESEEN, agreed=agreed, differed=differed, knots=_knots(unseen, wrong),
    )  # fmt: skip


def _logistic(counts: Floats, wrong: Floats) -> LogisticRegression:
    if np.ptp(wrong) == 0:
        said = "of the answers too few are wrong, or too few right: nothing can be learned"
        raise Misconfigured(said, field="--outcomes")
    return LogisticRegression().fit(counts, wrong)


def _knots(said: Floats, wrong: Floats) -> tuple[tuple[float, float], ...]:
    """Where isotonic regression stands in the middle of parts of equal size.

    They rise by a little where it is level, so that the order of what is said is kept.
    """
    chances = IsotonicRegression(y_min=0, y_max=1).fit_transform(said, wrong)
    parts = np.array_split(np.argsort(said, kind="stable"), KNOTS)
    lefts = [round(float(said[part].mean()), PLACES) for part in parts]
    rising = np.array([chances[part].mean() for part in parts]) + RISE * np.arange(KNOTS)
    heights = np.clip(rising - RISE * KNOTS / 2, 0, 1).round(PLACES).tolist()
    return tuple(zip(lefts, heights, strict=True))
