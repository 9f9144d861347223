"""Finds which answers may be kept, by risk control: what share of such answers is wrong at most.

A limit on the doubt keeps all answers below it. If the doubt of many answers is near the limit, it
depends on chance in the audits whether they are kept. So the limit is compared with an upper bound
of the share of wrong answers among all that would be kept with it (Clopper-Pearson; the rule is
that of risk-controlling prediction sets, arXiv 2101.02703).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta

from forebay.routing.learning.doubt_calibration import (
    MAX_BOUNDS,
    PLACES,
    Bound,
    DoubtCalibration,
)
from forebay.workers.training.calibration.fit_doubt_calibration import Doubted, probabilities
from forebay.workers.training.data.dataset import Floats

CONFIDENCE = 0.9  # that no more of the kept answers are wrong than the bound says
MIN_SAMPLE = 20  # audits of a random sample of answers, for a bound
BOUND_PLACES = 4  # decimals of a bound, rounded up


def with_bounds(rows: Sequence[Doubted], fitted: DoubtCalibration) -> DoubtCalibration:
    """Return the calibration with the bounds of each kind that enough of these audits show.

    Only audits of a random sample count: escalated answers are doubted more than others.
    """
    sampled = [row for row in rows if row.sampled]
    bounds = {}
    for name in {row.groups[0] for row in sampled}:
        members = [row for row in sampled if row.groups[0] == name]
        if len(members) >= MIN_SAMPLE:
            wrong = np.array([row.wrong for row in members])
            bounds[name] = upper_bounds(probabilities(members, fitted), wrong)
    return fitted.model_copy(update={"bounds": bounds})


def upper_bounds(doubts: Floats, wrong: Floats) -> tuple[Bound, ...]:
    """Return rising doubts, each with the least bound of a limit that keeps answers up to it."""
    rounded = np.round(doubts, PLACES)
    order = np.argsort(rounded, kind="stable")
    doubts, wrong = rounded[order], wrong[order]
    last = np.append(doubts[1:] != doubts[:-1], [True])
    kept, failed = np.arange(1, len(doubts) + 1)[last], np.cumsum(wrong)[last]
    right = np.maximum(kept - failed, 0)
    highest = np.where(right > 0, beta.ppf(CONFIDENCE, failed + 1, np.maximum(right, 1e-9)), 1.0)
    least = np.minimum.accumulate(highest[::-1])[::-1]
    return _thinned(doubts[last], np.ceil(least * 10**BOUND_PLACES) / 10**BOUND_PLACES)


def _thinned(doubts: Floats, bounds: Floats) -> tuple[Bound, ...]:
    """Keep the last doubt of each bound, and of too many bounds some, and the last."""
    ends = np.flatnonzero(np.append(bounds[1:] != bounds[:-1], [True]))
    if len(ends) > MAX_BOUNDS:
        ends = ends[np.linspace(0, len(ends) - 1, MAX_BOUNDS).astype(int)]
    return tuple(zip(doubts[ends].tolist(), bounds[ends].tolist(), strict=True))
