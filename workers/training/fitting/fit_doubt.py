"""Fits the doubt model: how often is an answer wrong although other local models agree with it?

Each local model gives the first answer once, with one other and with all others as further
opinions. A logistic regression on the agreements is calibrated by isotonic regression on its
out-of-fold predictions, which is kept as knots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from forebay.workers.training.data.dataset import Floats, read, require_enough

KINDS: tuple[Kind, ...] = ("generate",)  # the kinds that the model is fitted for
KNOTS = 14
MIN_RISE = 0.001  # from knot to knot

#: The weight of the verdict's score. It is not fitted, since the verdict was fitted to the same
#: questions. It only orders answers with the same agreement.
VERDICT_WEIGHT = 1.0
FOLDS = 5
DECIMALS = 5

Sample = tuple[tuple[float, float, float], float, str]  # measures, whether it is wrong, prompt


def fit(prompts: Path, outcomes: Path, models: Sequence[str]) -> Weights:
    """Fit weights to these local models' answers (`pred`) and scores.

    Raises:
        Misconfigured: A file, a column or a model is missing, or there is too little to fit to.
    """
    router = RouterModel.load()
    samples = [
        sample
        for first in models
        for sample in _samples(prompts, outcomes, first, [m for m in models if m != first], router)
    ]
    rows, wrong, uids = zip(*samples, strict=True) if samples else ((), (), ())
    require_enough(len(set(uids)))
    return _fitted(np.array(rows), np.round(wrong), uids)


def _samples(
    prompts: Path, outcomes: Path, first: str, others: list[str], router: RouterModel
) -> Iterator[Sample]:
    """Yield a sample for each answer of the first model, with one other and with all others."""
    data = read(prompts, outcomes, [first], [first], job_type=False)
    answers = local_answers.read(outcomes, data.uids, first, others)
    agreements = answers.agreements()
    answered = [row for row, text in enumerate(answers.first) if text]
    readings = {row: router.read(data.prompts[row]) for row in answered}
    for count in {1, len(others)}:
        for row in answered:
            measured = _measures(readings[row], agreements[row, :count])
            yield measured, 1 - float(data.weak[row]), data.uids[row]


def _measures(reading: Reading, agreements: Floats) -> tuple[float, float, float]:
    agreed = tuple(agreements.tolist())
    return measures(Evidence("generate", reading.probability, reading.gap, agreed))


def _fitted(rows: Floats, wrong: Floats, uids: Sequence[str]) -> Weights:
    """Fit the weights and the knots. All samples of a prompt are in the same fold."""
    verdict, counts = VERDICT_WEIGHT * rows[:, 0], rows[:, 1:]
    out_of_fold = np.zeros(len(rows))
    for fitted, held_out in GroupKFold(FOLDS).split(counts, wrong, uids):
        model = _logistic(counts[fitted], wrong[fitted])
        out_of_fold[held_out] = verdict[held_out] + model.decision_function(counts[held_out])
    model = _logistic(counts, wrong)
    agreed, differed = (round(float(weight), DECIMALS) for weight in model.coef_[0])
    return Weights(
        version="new", kinds=KINDS, start=round(float(model.intercept_[0]), DECIMALS),
        foreseen=VERDICT_WEIGHT, agreed=agreed, differed=differed,
        knots=_knots(out_of_fold, wrong),
    )  # fmt: skip


def _logistic(counts: Floats, wrong: Floats) -> LogisticRegression:
    if np.ptp(wrong) == 0:
        raise Misconfigured(
            "of the answers too few are wrong, or too few right, to fit to", field="--outcomes"
        )
    return LogisticRegression().fit(counts, wrong)


def _knots(log_odds: Floats, wrong: Floats) -> tuple[tuple[float, float], ...]:
    """Return the means of isotonic regression over parts of equal size.

    Knots rise by at least `MIN_RISE`, so that calibration keeps the order of answers.
    """
    chances = IsotonicRegression(y_min=0, y_max=1).fit_transform(log_odds, wrong)
    parts = np.array_split(np.argsort(log_odds, kind="stable"), KNOTS)
    lefts = [round(float(log_odds[part].mean()), DECIMALS) for part in parts]
    rising = np.array([chances[part].mean() for part in parts]) + MIN_RISE * np.arange(KNOTS)
    heights = np.clip(rising - MIN_RISE * KNOTS / 2, 0, 1).round(DECIMALS).tolist()
    return tuple(zip(lefts, heights, strict=True))
