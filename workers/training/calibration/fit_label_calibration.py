"""Fits the temperatures of label probabilities to audits, by group and with shrinkage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from forebay.routing.learning.audits import Audit
from forebay.routing.learning.label_calibration import (
    MAX_GROUPS,
    LabelCalibration,
    label_groups,
)
from forebay.workers.training.calibration.fit_doubt_calibration import (
    EDGE,
    FOLDS,
    MIN_AUDITS,
    fold_numbers,
    minimized,
)
from forebay.workers.training.data.dataset import Floats

#: Standard deviations of the prior of the logarithm of the temperature, for kinds and below.
KIND_WIDTH, GROUP_WIDTH = 1.0, 0.4
NEVER = -1e6  # the logarithm of a share of 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """One choice between labels in an audited answer."""

    job: str
    made: float
    shares: tuple[float, ...]
    groups: tuple[str, ...]
    right: float


def labelled(audits: Sequence[Audit]) -> list[Labelled]:
    """Return the choices between labels that were audited."""
    return [
        Labelled(
            audit.job, audit.made, label.shares,
            label_groups(audit.kind, audit.answered_by or "", audit.type, label.question),
            label.right,
        )
        for audit in audits
        for label in audit.labels
    ]  # fmt: skip


def fit_labels(rows: Sequence[Labelled]) -> LabelCalibration:
    """Fit the temperature of each group to these choices."""
    counts = Counter(name for row in rows for name in row.groups)
    names = [name for name, count in counts.most_common(MAX_GROUPS) if count >= MIN_AUDITS]
    places = {name: at for at, name in enumerate(names)}
    widths = np.array([KIND_WIDTH if " " not in name else GROUP_WIDTH for name in names])
    entries = [(at, places[n]) for at, row in enumerate(rows) for n in row.groups if n in places]
    at, columns = zip(*entries, strict=True) if entries else ((), ())
    shape = len(rows), len(names)
    members = sp.csr_matrix((np.ones(len(entries)), (at, columns)), shape=shape)
    logs, right = _log_shares(rows), np.array([row.right for row in rows])
    scaled = members.multiply(widths).tocsr() if names else members

    def loss(weights: Floats) -> tuple[float, Floats]:
        sharpness = np.exp(-(scaled @ weights))
        shares = _softmax(logs * sharpness[:, None])
        sure = np.clip(shares[:, 0], EDGE, 1 - EDGE)
        value = -np.sum(right * np.log(sure) + (1 - right) * np.log(1 - sure))
        mean = np.sum(shares * logs, axis=1)
        slope = (sure - right) / (1 - sure) * (logs[:, 0] - mean) * -sharpness
        return float(value + 0.5 * weights @ weights), scaled.T @ slope + weights

    fitted = widths * minimized(loss, len(names))
    return LabelCalibration(groups=dict(zip(names, fitted.tolist(), strict=True)))


def chances(rows: Sequence[Labelled], calibration: LabelCalibration | None) -> Floats:
    """Return the probability of each chosen label by a calibration."""
    known = calibration or LabelCalibration(groups={})
    sharpness = np.array([1 / known.temperature(row.groups) for row in rows])
    return _softmax(_log_shares(rows) * sharpness[:, None])[:, 0]


def cross_fitted(rows: Sequence[Labelled]) -> Floats:
    """Return the probability of each chosen label by a fit to the other folds."""
    predicted, folds = chances(rows, None), fold_numbers([row.job for row in rows])
    for number in range(FOLDS):
        held_out = np.flatnonzero(folds == number).tolist()
        if 0 < len(held_out) < len(rows):
            fitted = fit_labels([rows[at] for at, fold in enumerate(folds) if fold != number])
            predicted[held_out] = chances([rows[at] for at in held_out], fitted)
    return predicted


def _log_shares(rows: Sequence[Labelled]) -> Floats:
    """Return the logarithms of the shares, the chosen label's first, padded to one width."""
    width = max(len(row.shares) for row in rows)
    padded = [(*row.shares, *(0.0,) * (width - len(row.shares))) for row in rows]
    shares = np.array(padded)
    return np.where(shares > 0, np.log(np.maximum(shares, 1e-12)), NEVER)


def _softmax(logs: Floats) -> Floats:
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
