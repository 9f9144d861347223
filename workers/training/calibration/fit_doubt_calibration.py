"""Fits corrections of doubts and label probabilities to audits, by group and with shrinkage.

A group's corrections have a normal prior around 0 (maximum a posteriori, a mixed-effects model), so
that a group with few audits is corrected by the larger groups it belongs to. Candidates are
compared with the current calibration by cross-fitting: each audit is predicted by a fit to others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit

from forebay.routing.learning.audits import Audit
from forebay.routing.learning.doubt_calibration import (
    MAX_GROUPS,
    Correction,
    DoubtCalibration,
    doubt_groups,
    doubt_inputs,
)
from forebay.routing.scoring.doubt_model import PLAIN
from forebay.routing.scoring.logit import logit
from forebay.workers.training.data.dataset import Floats, Ints

FOLDS = 5  # of the cross-fit
MIN_AUDITS = 5  # of a group that is corrected
#: Standard deviations of the prior of constant, log-odds and agreement, for kinds and below.
KIND_WIDTHS, GROUP_WIDTHS = (1.5, 0.5, 2.5), (0.7, 0.25, 1.2)
EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Doubted:
    """An audit of an answer whose doubt the present doubt model computed."""

    job: str
    made: float
    base: float
    agreement: float | None
    groups: tuple[str, ...]
    wrong: float
    sampled: bool = True


def doubted(audits: Sequence[Audit], model: str, *, second: bool) -> list[Doubted]:
    """Return the audits of this doubt model, with a second opinion or without."""
    versions = {model, PLAIN}
    return [
        Doubted(
            audit.job, audit.made, audit.base_doubt, audit.agreement,
            doubt_groups(audit.kind, audit.answered_by or "", audit.second, audit.type), audit.gap,
            audit.sampled,
        )
        for audit in audits
        if audit.base_doubt is not None and audit.doubt_model in versions
        and (audit.agreement is not None) == second
    ]  # fmt: skip


def fit_doubt(rows: Sequence[Doubted], model: str) -> DoubtCalibration:
    """Fit the corrections of all groups to these audits of a doubt model."""
    counts = Counter(name for row in rows for name in row.groups)
    names = [name for name, count in counts.most_common(MAX_GROUPS) if count >= MIN_AUDITS]
    matrix = _design(rows, {name: place for place, name in enumerate(names)})
    widths = np.concatenate([_widths(name) for name in names]) if names else np.zeros(0)
    offset = np.array([logit(row.base) for row in rows])
    weights = widths * map_fit(matrix.multiply(widths).tocsr(), offset, _wrong(rows))
    corrections: list[Correction] = [(a, b, c) for a, b, c in weights.reshape(-1, 3).tolist()]
    return DoubtCalibration(model=model, groups=dict(zip(names, corrections, strict=True)))


def probabilities(rows: Sequence[Doubted], calibration: DoubtCalibration | None) -> Floats:
    """Return the doubt of each audit's answer by a calibration."""
    if calibration is None:
        return np.array([row.base for row in rows])
    return np.array([calibration.probability(r.base, r.agreement, r.groups) for r in rows])


def cross_fitted(rows: Sequence[Doubted]) -> Floats:
    """Return the doubt of each audit's answer by a fit to the other folds."""
    predicted = np.array([row.base for row in rows])
    folds = fold_numbers([row.job for row in rows])
    for number in range(FOLDS):
        held_out = np.flatnonzero(folds == number).tolist()
        if 0 < len(held_out) < len(rows):
            fitted = fit_doubt([rows[at] for at, fold in enumerate(folds) if fold != number], PLAIN)
            predicted[held_out] = probabilities([rows[at] for at in held_out], fitted)
    return predicted


def fold_numbers(jobs: Sequence[str]) -> Ints:
    """Return the fold of each audit, by a hash of its job's id."""
    digests = (hashlib.sha256(job.encode()).digest() for job in jobs)
    return np.array([int.from_bytes(digest[:4]) % FOLDS for digest in digests])


def log_losses(predicted: Floats, wrong: Floats) -> Floats:
    """Return the log loss of each prediction; an outcome between 0 and 1 counts in part."""
    bounded = np.clip(predicted, EDGE, 1 - EDGE)
    return np.asarray(-wrong * np.log(bounded) - (1 - wrong) * np.log(1 - bounded))


def _wrong(rows: Sequence[Doubted]) -> Floats:
    return np.array([row.wrong for row in rows])


def _widths(name: str) -> Floats:
    is_kind = " by " not in name and not name.startswith("type ")
    return np.array(KIND_WIDTHS if is_kind else GROUP_WIDTHS)


def _design(rows: Sequence[Doubted], places: dict[str, int]) -> sp.csr_matrix:
    """Return the inputs of each audit, three columns for each group."""
    entries = [
        (at, 3 * places[name] + column, value)
        for at, row in enumerate(rows)
        for name in row.groups
        if name in places
        for column, value in enumerate(doubt_inputs(row.base, row.agreement))
    ]
    at, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sp.csr_matrix((values, (at, columns)), shape=(len(rows), 3 * len(places)))


def map_fit(matrix: sp.csr_matrix, offset: Floats, wrong: Floats) -> Floats:
    """Fit a logistic regression with an offset, and a standard normal prior of each weight."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_odds = offset + matrix @ weights
        value = np.sum(np.logaddexp(0, log_odds) - wrong * log_odds) + 0.5 * weights @ weights
        return float(value), matrix.T @ (expit(log_odds) - wrong) + weights

    return minimized(loss, matrix.shape[1])


def minimized(loss: Callable[[Floats], tuple[float, Floats]], size: int) -> Floats:
    """Return the weights of least loss, from 0 on."""
    if not size:
        return np.zeros(0)
    return np.asarray(minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B").x)
