"""Metrics of a router's ranking of jobs: PGR, APGR, CPT, AUC and ECE, with bootstrap intervals.

PGR, APGR and CPT are those of RouteLLM (Ong et al., arXiv 2406.18665, section 3.3). Jobs go to the
strong model by falling score. The performance gap recovered (PGR) at a share of jobs is how far the
mean quality has then come from the weak model's mean to the strong one's. APGR is the mean of PGR
over the shares 0, 10, ... 100 %, by the trapezoid rule. CPT(q), the call-performance threshold, is
the share at which PGR reaches q. All of them divide by the gap between the two means, and are
undefined if the weak model does as well or better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forebay.workers.training.data.dataset import Floats, Ints

STEPS = 10  # steps of the share of jobs, from 0 to 1
BINS = 10  # bins of the calibration error, of equal mass
CHANCE_ROUNDS = 100  # random truths that the error by chance is averaged over
MIN_GAP = 1e-9  # a smaller gap between the means is a rounding error

#: A metric has a 95 % interval only if it is defined in at least this share of the bootstrap
#: samples. If it is not, the gap may as well be 0, and a quotient by it has no bounds (Fieller,
#: 1954).
MIN_SHARE_DEFINED = 0.975

NAMES = ("apgr", "cpt50", "cpt80", "pgr10", "pgr20", "auc", "ece")


@dataclass(frozen=True, eq=False)
class Ranked:
    """Jobs with a router's score for each, and the true scores of both answers.

    Attributes:
        score: jobs with higher scores are escalated first; tied jobs in proportion.
        weak, strong: scores, 0 to 1, of the two answers.
        probability: that the weak answer is right; `None` if the router gives none.
    """

    score: Floats
    weak: Floats
    strong: Floats
    probability: Floats | None = None

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(-self.score, kind="stable")

    @cached_property
    def _groups(self) -> Ints:
        """The positions in the order at which a group of equal scores begins."""
        ordered = self.score[self._order]
        return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def _grouped(self, values: Floats) -> Floats:
        """Sum the values of each group of equal scores, the highest score first."""
        return np.asarray(np.add.reduceat(values[self._order], self._groups))

    def recovered(self, counts: Floats, shares: Floats) -> Floats:
        """Return PGR at each share of escalated jobs.

        Args:
            counts: how often each job is in the bootstrap sample.
            shares: shares of jobs, 0 to 1.
        """
        sent = np.concatenate([[0.0], np.cumsum(self._grouped(counts))])
        gains = np.concatenate(
            [[0.0], np.cumsum(self._grouped(counts * (self.strong - self.weak)))]
        )
        return np.asarray(np.interp(shares, sent / sent[-1], gains / gains[-1]))

    def measure(self, counts: Floats | None = None) -> dict[str, float]:
        """Return the metrics of `NAMES` that are defined. CPT is in percent of the jobs."""
        counts = np.ones(len(self.score)) if counts is None else counts
        metrics = self._gap_metrics(counts) | {"auc": self._auc(counts)}
        if self.probability is not None:
            metrics["ece"] = calibration_error(self.probability, self.weak, counts)
        return {name: value for name, value in metrics.items() if np.isfinite(value)}

    def _gap_metrics(self, counts: Floats) -> dict[str, float]:
        """Return the metrics that are divided by the gap, or nothing if there is no gap."""
        if np.average(self.strong - self.weak, weights=counts) < MIN_GAP:
            return {}
        shares = np.linspace(0, 1, STEPS + 1)
        curve = self.recovered(counts, shares)
        return {
            "apgr": float(np.trapezoid(curve, shares)),
            "cpt50": _share_reaching(0.5, shares, curve),
            "cpt80": _share_reaching(0.8, shares, curve),
            "pgr10": float(curve[STEPS // 10]),
            "pgr20": float(curve[STEPS // 5]),
        }

    def _auc(self, counts: Floats) -> float:
        """Return the probability that a wrong weak answer has a higher score than a right one.

        An answer is wrong if it has less than half of the full score.
        """
        wrong = counts * (self.weak < 0.5)  # noqa: PLR2004 - half of the full score
        wrong_mass, right_mass = self._grouped(wrong), self._grouped(counts - wrong)
        right_below = right_mass.sum() - np.cumsum(right_mass)
        pairs = wrong_mass.sum() * right_mass.sum()
        wins = (wrong_mass * (right_below + right_mass / 2)).sum()
        return float(wins / pairs) if pairs else float("nan")

    def intervals(self, rounds: int, seed: int) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap confidence intervals by metric, over the jobs.

        The router is fixed: it is not fitted again to each sample. Samples in which a metric is
        undefined are left out of its interval; if fewer than `MIN_SHARE_DEFINED` remain, the metric
        has none.
        """
        draw, size = np.random.default_rng(seed), len(self.score)
        values: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(rounds):
            counts = np.bincount(draw.integers(0, size, size), minlength=size).astype(float)
            for name, value in self.measure(counts).items():
                values[name].append(value)
        min_defined = MIN_SHARE_DEFINED * rounds
        ends = {
            name: np.percentile(defined, [2.5, 97.5])
            for name, defined in values.items()
            if len(defined) >= min_defined
        }
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _share_reaching(target: float, shares: Floats, curve: Floats) -> float:
    """Return the percentage of jobs at which the curve first reaches the target, interpolated."""
    after = int(np.argmax(curve >= target))
    if curve[after] < target:
        return float("nan")
    before = max(0, after - 1)
    rise = curve[after] - curve[before]
    part = (target - curve[before]) / rise if rise > 0 else 0.0
    return float(100 * (shares[before] + part * (shares[after] - shares[before])))


def error_by_chance(probability: Floats) -> float:
    """Return the ECE that these probabilities have on average if each of them is true.

    The mean truth of a bin differs from its chance, because it is of few jobs. No calibration is
    better than this, except by luck.
    """
    draw = np.random.default_rng(0)
    truths = draw.random((CHANCE_ROUNDS, len(probability))) < probability
    return float(np.mean([calibration_error(probability, truth.astype(float)) for truth in truths]))


def calibration_error(probability: Floats, truth: Floats, counts: Floats | None = None) -> float:
    """Return the expected calibration error (ECE), over ten bins of equal mass.

    Jobs with the same probability get their mean truth, so that their order does not matter.
    """
    counts = np.ones(len(probability)) if counts is None else counts
    _, same = np.unique(probability, return_inverse=True)
    mass_of, truth_of = np.bincount(same, counts), np.bincount(same, counts * truth)
    truth = np.divide(truth_of, mass_of, out=np.zeros(len(mass_of)), where=mass_of > 0)[same]
    order = np.argsort(probability, kind="stable")
    mass = np.cumsum(counts[order])
    place = np.minimum((BINS * (mass - counts[order] / 2) / mass[-1]).astype(int), BINS - 1)
    wrong = counts * (truth - probability)
    return float(np.abs(np.bincount(place, wrong[order], minlength=BINS)).sum() / mass[-1])
