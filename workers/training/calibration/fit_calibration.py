"""Fits a calibration to audits: Platt scaling of the probability, ridge regression of the score.

Each of the two parts is kept only if it is better, by more than chance, on held-out audits. The
other parts are fitted and compared by `doubt_trial`.
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
from forebay.workers.training.calibration.doubt_trial import try_parts
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.data.ranking_metrics import calibration_error, error_by_chance

#: One audit in this many is held out, chosen by a hash of its job's id.
HELD_OUT_EVERY = 3
MIN_RIGHT = 0.5  # outcomes from here on count as right
#: Standard errors by which a part must be better: a 5 % chance, one-sided, that it only seems so.
MIN_STANDARD_ERRORS = 1.64
PENALTIES = np.logspace(0, 4, 9)

#: Returns the probability from which a job stays local, by tenant and kind.
Threshold = Callable[[str, Kind], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """A fitted calibration, and its metrics on held-out audits.

    Attributes:
        candidate: the current calibration with those parts replaced that are better.
        before, after: metrics by name, of the current calibration and of the candidate.
        accepted: the parts that are better: `probability` and `score` of the verdict, `doubt`
            without and `second` with a second opinion, `labels`.
        fitted, held_back: numbers of audits.
    """

    candidate: Calibration
    before: Mapping[str, float]
    after: Mapping[str, float]
    accepted: tuple[str, ...]
    fitted: int
    held_back: int


def trial(
    audits: Sequence[Audit], now: Calibration, threshold: Threshold, doubt_model: str
) -> Trial:
    """Fit a calibration to some of the audits and compare it with the current one on the others.

    Args:
        audits: audits of the router model that `now` is for; some must be in either part.
        now: the current calibration.
        threshold: the probability from which a job stays local.
        doubt_model: the version of the doubt model in force.
    """
    sampled = [audit for audit in audits if audit.sampled]
    held_out = [audit for audit in sampled if _is_held_out(audit)]
    fitted = [audit for audit in sampled if not _is_held_out(audit)]
    parts = {"probability": _fit_platt(fitted), "score": _fit_ridge(fitted)}
    both = now.model_copy(update=parts["probability"] | parts["score"])
    losses = {"probability": _probability_losses, "score": _score_losses}
    accepted = tuple(
        name for name, loss in losses.items() if _better(loss(held_out, now), loss(held_out, both))
    )
    candidate = now
    for name in accepted:
        candidate = candidate.model_copy(update=parts[name])
    others = try_parts(audits, now, doubt_model)
    candidate = candidate.model_copy(update=others.update)
    before = metrics(held_out, now, threshold) | others.before
    after = metrics(held_out, candidate, threshold) | others.after
    report = {name: round(value, 4) for name, value in after.items()}
    accepted = (*accepted, *others.accepted)
    made = {"report": report, "audits": len(audits), "parts": accepted} if accepted else {}
    return Trial(
        candidate.model_copy(update=made), before, after, accepted, len(fitted), len(held_out),
    )  # fmt: skip


def metrics(
    audits: Sequence[Audit], calibration: Calibration, threshold: Threshold
) -> dict[str, float]:
    """Measure a calibration on audits; undefined metrics are left out.

    - `auc`: of the score, for wrong answers; undefined if all are right, or all wrong.
    - `brier`, `ece`: of the probability; `chance`: the ECE if it were perfect.
    - `gap_error`: mean squared error of the score.
    - `kept`, `agreement`: the share of jobs at or above the threshold, and the mean outcome of
      their local answers.
    """
    truth = _truth(audits)
    chances, scores = _chances(audits, calibration), _scores(audits, calibration)
    limits = np.array([threshold(audit.tenant, audit.kind) for audit in audits])
    kept, wrong = chances >= limits, truth < MIN_RIGHT
    measured = {
        "auc": float(roc_auc_score(wrong, scores)) if 0 < wrong.sum() < len(wrong) else None,
        "brier": float(np.mean((chances - truth) ** 2)),
        "ece": calibration_error(chances, truth),
        "chance": error_by_chance(chances),
        "gap_error": float(np.mean((scores - (1 - truth)) ** 2)),
        "kept": float(kept.mean()),
        "agreement": float(truth[kept].mean()) if kept.any() else None,
    }
    return {name: value for name, value in measured.items() if value is not None}


def _fit_platt(audits: Sequence[Audit]) -> dict[str, Any]:
    """Fit slope and intercept of the log-odds (Platt scaling).

    An outcome between 0 and 1 counts in part as right and in part as wrong.
    """
    rows = np.array([[logit(audit.base_probability)] for audit in audits])
    truth = _truth(audits)
    model = LogisticRegression(C=1e3).fit(
        np.vstack([rows, rows]), np.repeat([1, 0], len(rows)), np.concatenate([truth, 1 - truth])
    )
    return {"slope": max(0.0, float(model.coef_[0, 0])), "intercept": float(model.intercept_[0])}


def _fit_ridge(audits: Sequence[Audit]) -> dict[str, Any]:
    """Fit a weight for each feature to the residual of the score."""
    names = sorted({name for audit in audits for name in audit.features})
    rows = np.array([[audit.features.get(name, 0.0) for name in names] for audit in audits])
    rows = rows.reshape(len(audits), len(names))
    mean, width = rows.mean(axis=0), rows.std(axis=0)
    varying = np.flatnonzero(width > 0)
    residual = (1 - _truth(audits)) - np.array([audit.base_score for audit in audits])
    if not len(varying):
        return {"start": float(residual.mean()), "weights": {}}
    standard = (rows[:, varying] - mean[varying]) / width[varying]
    model = RidgeCV(PENALTIES).fit(standard, residual)
    weights = model.coef_ / width[varying]
    start = float(model.intercept_ - weights @ mean[varying])
    return {
        "start": start,
        "weights": dict(zip([names[at] for at in varying], weights.tolist(), strict=True)),
    }


def _better(before: Floats, after: Floats) -> bool:
    """Return whether losses fell by more than chance (a one-sided test of the mean gain)."""
    gain = before - after
    if len(gain) < 2:  # noqa: PLR2004 - no deviation of fewer
        return False
    return bool(gain.mean() > MIN_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))


def _probability_losses(audits: Sequence[Audit], calibration: Calibration) -> Floats:
    return np.asarray((_chances(audits, calibration) - _truth(audits)) ** 2)


def _score_losses(audits: Sequence[Audit], calibration: Calibration) -> Floats:
    return np.asarray((_scores(audits, calibration) - (1 - _truth(audits))) ** 2)


def _truth(audits: Sequence[Audit]) -> Floats:
    return np.array([audit.outcome for audit in audits])


def _chances(audits: Sequence[Audit], calibration: Calibration) -> Floats:
    return np.array([calibration.chance(audit.base_probability) for audit in audits])


def _scores(audits: Sequence[Audit], calibration: Calibration) -> Floats:
    return np.array([audit.base_score + calibration.excess(audit.features) for audit in audits])


def _is_held_out(audit: Audit) -> bool:
    digest = hashlib.sha256(audit.job.encode()).digest()
    return int.from_bytes(digest[:4]) % HELD_OUT_EVERY == 0
