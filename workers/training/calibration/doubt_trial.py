"""Compares refitted doubts and label probabilities with the current ones, by cross-fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forebay.routing.learning.audits import Audit
from forebay.routing.learning.calibration import Calibration
from forebay.routing.learning.doubt_calibration import DoubtCalibration
from forebay.workers.training.calibration import fit_doubt_calibration as doubts
from forebay.workers.training.calibration import fit_label_calibration as labels
from forebay.workers.training.calibration.doubt_bounds import with_bounds
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.data.ranking_metrics import calibration_error, error_by_chance

MIN_ROWS = 20  # fewer are too few to fit to
#: If so many audits are newer than the current calibration, the two are compared on those alone,
#: because the current one was fitted to the others.
MIN_NEWER = 50

Made = Sequence[doubts.Doubted] | Sequence[labels.Labelled]


@dataclass(slots=True)
class PartsTrial:
    """What was fitted beside the verdict.

    Attributes:
        update: the fields of the calibration that are better.
        before, after: metrics by name.
        accepted: the parts that are better.
    """

    update: dict[str, Any] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)

    def compare(
        self, name: str, rows: Made, truth: Floats, before: Floats, after: Floats, since: float
    ) -> bool:
        """Measure one part on audits that it was not fitted to; return whether it is better."""
        newer = np.array([row.made > since for row in rows])
        chosen = newer if newer.sum() >= MIN_NEWER else np.ones(len(rows), bool)
        truth, before, after = truth[chosen], before[chosen], after[chosen]
        losses = [doubts.log_losses(each, truth) for each in (before, after)]
        for metrics, predicted, loss in zip(
            (self.before, self.after), (before, after), losses, strict=True
        ):
            metrics[f"{name}_ece"] = calibration_error(predicted, truth)
            metrics[f"{name}_chance"] = error_by_chance(predicted)
            metrics[f"{name}_loss"] = float(loss.mean())
        better = bool(losses[1].mean() < losses[0].mean())
        if better:
            self.accepted.append(name)
        return better


def try_parts(audits: Sequence[Audit], now: Calibration, model: str) -> PartsTrial:
    """Fit doubts of a doubt model with and without a second opinion, and label probabilities."""
    tried = PartsTrial()
    groups: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for name, second in (("doubt", False), ("second", True)):
        rows = doubts.doubted(audits, model, second=second)
        part = _try_doubt(tried, name, rows, now, model) if len(rows) >= MIN_ROWS else None
        part = part or _part_of(now.doubt, model, second=second)
        groups, bounds = groups | part.groups, bounds | part.bounds
    if {"doubt", "second"}.intersection(tried.accepted):
        tried.update["doubt"] = DoubtCalibration(model=model, groups=groups, bounds=bounds)
    _try_labels(tried, labels.labelled(audits), now)
    return tried


def _try_doubt(
    tried: PartsTrial, name: str, rows: Sequence[doubts.Doubted], now: Calibration, model: str
) -> DoubtCalibration | None:
    current = now.doubt if now.doubt and now.doubt.fits(model) else None
    truth = np.array([row.wrong for row in rows])
    before, after = doubts.probabilities(rows, current), doubts.cross_fitted(rows)
    better = tried.compare(name, rows, truth, before, after, now.made if current else 0.0)
    return with_bounds(rows, doubts.fit_doubt(rows, model)) if better else None


def _try_labels(tried: PartsTrial, rows: Sequence[labels.Labelled], now: Calibration) -> None:
    if len(rows) < MIN_ROWS:
        return
    truth = np.array([row.right for row in rows])
    before, after = labels.chances(rows, now.labels), labels.cross_fitted(rows)
    if tried.compare("labels", rows, truth, before, after, now.made if now.labels else 0.0):
        tried.update["labels"] = labels.fit_labels(rows)


def _part_of(current: DoubtCalibration | None, model: str, *, second: bool) -> DoubtCalibration:
    """Return the groups of the current calibration with a second opinion, or without."""
    if current is None or not current.fits(model):
        return DoubtCalibration(model=model, groups={})

    def chosen(table: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in table.items() if name.endswith(" alone") != second}

    return DoubtCalibration(
        model=model, groups=chosen(current.groups), bounds=chosen(current.bounds)
    )
