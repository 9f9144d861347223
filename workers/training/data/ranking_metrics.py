"""How good a ranking is at saying which jobs should go up, with bootstrap intervals.

APGR and CPT are those of RouteLLM (Ong et al., arXiv 2406.18665, section 3.3): quality is looked
at where 0, 10, ... 100 % of the jobs, the highest scores first, go to the strong model. The
performance gap recovered (PGR) is the share of the way from the weak model's mean to the strong
one's; APGR is its mean over the shares by the trapezoid rule, CPT(q) the share at which PGR
reaches q. All four divide by the gap between the two means, and are not defined where there is none
or the weak model does better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forebay.workers.training.data.dataset import Floats, Ints

STEPS = 10  # quantile bins
BINS = 10  # of the calibration error, of equal mass
MIN_GAP = 1e-9  # gap between the means that is one, and not what is left by rounding

#: Of a 95 % interval, that the figure is defined in so many of the resamples. Where the gap is not,
#: it is not told from none itself, and what is divided by it has no bounds (Fieller, 1954).
MIN_SHARE_OF_ROUNDS = 0.975

NAMES = ("apgr", "cpt50", "cpt80", "pgr10", "pgr20", "auc", "ece")


@dataclass(frozen=True, eq=False)
class Ranked:
    """Jobs with what a router said of them and what was true.

    Attributes:
        score: the higher goes up first; ties go up in proportion.
        weak, strong: scores, 0 to 1, of the two answers.
        probability: that the weak answer will do; none where a router does not say.
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
        """Where in the order each group of equal scores begins."""
        ordered = self.score[self._order]
        return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def _grouped(self, values: Floats) -> Floats:
        """Sums by group of equal scores, highest first."""
        return np.asarray(np.add.reduceat(values[self._order], self._groups))

    def recovered(self, counts: Floats, shares: Floats) -> Floats:
        """PGR where such shares go up; `counts` says how often each job is in the sample."""
        sent = np.concatenate([[0.0], np.cumsum(self._grouped(counts))])
        gains = np.concatenate(
            [[0.0], np.cumsum(self._grouped(counts * (self.strong - self.weak)))]
        )
        return np.asarray(np.interp(shares, sent / sent[-1], gains / gains[-1]))

    def measure(self, counts: Floats | None = None) -> dict[str, float]:
        """Those of `NAMES` that are defined; the share is in percent for CPT."""
        counts = np.ones(len(self.score)) if counts is None else counts
        found = self._recovery(counts) | {"auc": self._auc(counts)}
        if self.probability is not None:
            found["ece"] = calibration_error(self.probability, self.weak, counts)
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def _recovery(self, counts: Floats) -> dict[str, float]:
        """What divides by the gap, where there is one."""
        if np.average(self.strong - self.weak, weights=counts) < MIN_GAP:
            return {}
        shares = np.linspace(0, 1, STEPS + 1)
        curve = self.recovered(counts, shares)
        return {
            "apgr": float(np.trapezoid(curve, shares)),
            "cpt50": _reached(shares, curve, 0.5),
            "cpt80": _reached(shares, curve, 0.8),
            "pgr10": float(curve[STEPS // 10]),
            "pgr20": float(curve[STEPS // 5]),
        }

    def _auc(self, counts: Floats) -> float:
        """Chance that a job with a wrong weak answer has the higher score than one with a right.

        Wrong is an answer with less than half of the full score.
        """
        wrong = counts * (self.weak < 0.5)  # noqa: PLR2004 - half of the full score
        lost, kept = self._grouped(wrong), self._grouped(counts - wrong)
        below = kept.sum() - np.cumsum(kept)
        pairs = lost.sum() * kept.sum()
        return float((lost * (below + kept / 2)).sum() / pairs) if pairs else float("nan")

    def intervals(self, rounds: int, seed: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals by metric, over the jobs; the router is given.

        Resamples in which a figure is not defined are left out of its interval; where fewer than
        `MIN_SHARE_OF_ROUNDS` remain, it has none.
        """
        draw, size = np.random.default_rng(seed), len(self.score)
        found: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(rounds):
            counts = np.bincount(draw.integers(0, size, size), minlength=size).astype(float)
            for name, value in self.measure(counts).items():
                found[name].append(value)
        enough = {
            name: got for name, got in found.items() if len(got) >= MIN_SHARE_OF_ROUNDS * rounds
        }
        ends = {name: np.percentile(got, [2.5, 97.5]) for name, got in enough.items()}
        return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _reached(shares: Floats, curve: Floats, target: float) -> float:
    """Percent of jobs that must go up until the curve is first at the target, interpolated."""
    after = int(np.argmax(curve >= target))
    if curve[after] < target:
        return float("nan")
    before = max(0, after - 1)
    rise = curve[after] - curve[before]
    part = (target - curve[before]) / rise if rise > 0 else 0.0
    return float(100 * (shares[before] + part * (shares[after] - shares[before])))


def calibration_error(probability: Floats, truth: Floats, counts: Floats | None = None) -> float:
    """ECE: mean distance of what was said from what came true, in ten bins of equal mass.

    Of jobs of which the same was said each has their mean truth, so that their order is nothing.
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
