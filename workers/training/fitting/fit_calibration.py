"""From audits to a calibration: fitted on one part of them, judged on another, kept if better.

Each part of it is kept only where it is better by more than chance on audits that it was not fitted
on; what is published is what was measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score

from forebay.routing.base import Kind
from forebay.routing.learning.audits import Audit
from forebay.routing.learning.calibration import Calibration
from forebay.routing.scoring.logit import logit
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.data.ranking_metrics import calibration_error

#: Every so manieth audit, by a digest of its job, is held back.
HELD_BACK = 3
RIGHT = 0.5  # an outcome from here on counts as right
#: Standard errors by which a part must be better: one chance in twenty that it only seems so.
MARGIN = 1.64
PENALTIES = np.logspace(0, 4, 9)

#: The probability from which a job is kept, by tenant and kind.
Threshold = Callable[[str, Kind], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """A calibration, and what it does to audits that it was not fitted on.

    Attributes:
        candidate: with those parts that are better than what was in force; none of them is, where
            it says `accepted` is empty.
        before, after: figures by name, of what was in force and of the candidate.
        accepted: the parts that are better: `probability`, `score`.
        fitted, held_back: audits.
    """

    candidate: Calibration
    before: Mapping[str, float]
    after: Mapping[str, float]
    accepted: tuple[str, ...]
    fitted: int
    held_back: int


def trial(audits: Sequence[Audit], now: Calibration, threshold: Threshold) -> Trial:
    """Fit on one part of the audits, and hold the result against what is in force on the other.

    All audits must be of the model that `now` is for; there must be some in both parts.
    """
    apart = [one for one in audits if _is_held_back(one)]
    fitted = [one for one in audits if not _is_held_back(one)]
    chance, score = _platt(fitted), _ridge(fitted)
    both = now.model_copy(update={**chance, **score})
    accepted = tuple(
        name
        for name, loss in (("probability", _brier), ("score", _miss))
        if _better(loss(apart, now), loss(apart, both))
    )
    parts = {"probability": chance, "score": score}
    candidate = now
    for name in accepted:
        candidate = candidate.model_copy(update=parts[name])
    after = figures(apart, candidate, threshold)
    report = {name: round(value, 4) for name, value in after.items()}
    return Trial(
        candidate.model_copy(update={"report": report}), figures(apart, now, threshold), after,
        accepted, len(fitted), len(apart),
    )  # fmt: skip


def figures(audits: Sequence[Audit], by: Calibration, threshold: Threshold) -> dict[str, float]:
    """How good verdicts are, moved by a calibration, on these audits.

    `auc`: of the score, for answers that are wrong; none where all are the same. `brier` and `ece`:
    of the probability. `gap_error`: mean square of the score's error. `kept` and `agreement`: the
    share of jobs at or above the present threshold, and how good their local answers are.
    """
    truth, chances, scores = _truth(audits), _chances(audits, by), _scores(audits, by)
    limits = np.array([threshold(one.tenant, one.kind) for one in audits])
    kept, wrong = chances >= limits, truth < RIGHT
    found = {
        "auc": float(roc_auc_score(wrong, scores)) if 0 < wrong.sum() < len(wrong) else None,
        "brier": float(np.mean((chances - truth) ** 2)),
        "ece": calibration_error(chances, truth),
        "gap_error": float(np.mean((scores - (1 - truth)) ** 2)),
        "kept": float(kept.mean()),
        "agreement": float(truth[kept].mean()) if kept.any() else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _platt(audits: Sequence[Audit]) -> dict[str, Any]:
    """Slope and intercept of the log-odds; an outcome between 0 and 1 counts for both in part."""
    rows = np.array([[logit(one.base_probability)] for one in audits])
    truth = _truth(audits)
    model = LogisticRegression(C=1e3).fit(
        np.vstack([rows, rows]), np.repeat([1, 0], len(rows)), np.concatenate([truth, 1 - truth])
    )
    return {"slope": max(0.0, float(model.coef_[0, 0])), "intercept": float(model.intercept_[0])}


def _ridge(audits: Sequence[Audit]) -> dict[str, Any]:
    """A weight by feature, for what the model's score leaves of the gap."""
    names = sorted({name for one in audits for name in one.features})
    rows = np.array([[one.features.get(name, 0.0) for name in names] for one in audits])
    rows = rows.reshape(len(audits), len(names))
    mean, width = rows.mean(axis=0), rows.std(axis=0)
    told = np.flatnonzero(width > 0)
    rest = (1 - _truth(audits)) - np.array([one.base_score for one in audits])
    if not len(told):
        return {"start": float(rest.mean()), "weights": {}}
    model = RidgeCV(PENALTIES).fit((rows[:, told] - mean[told]) / width[told], rest)
    weights = model.coef_ / width[told]
    start = float(model.intercept_ - weights @ mean[told])
    return {
        "start": start,
        "weights": dict(zip([names[at] for at in told], weights.tolist(), strict=True)),
    }


def _better(before: Floats, after: Floats) -> bool:
    """Whether a loss is smaller, by more than chance."""
    gain = before - after
    return len(gain) > 1 and bool(gain.mean() > MARGIN * gain.std(ddof=1) / np.sqrt(len(gain)))


def _brier(audits: Sequence[Audit], by: Calibration) -> Floats:
    return np.asarray((_chances(audits, by) - _truth(audits)) ** 2)


def _miss(audits: Sequence[Audit], by: Calibration) -> Floats:
    return np.asarray((_scores(audits, by) - (1 - _truth(audits))) ** 2)


def _truth(audits: Sequence[Audit]) -> Floats:
    return np.array([one.outcome for one in audits])


def _chances(audits: Sequence[Audit], by: Calibration) -> Floats:
    return np.array([by.chance(one.base_probability) for one in audits])


def _scores(audits: Sequence[Audit], by: Calibration) -> Floats:
    return np.array([one.base_score + by.excess(one.features) for one in audits])


def _is_held_back(audit: Audit) -> bool:
    digest = hashlib.sha256(audit.job.encode()).digest()
    return int.from_bytes(digest[:4]) % HELD_BACK == 0
