"""The doubt model: the probability that a local answer which passed its checks is wrong.

The evidence is whether other local answers agree, how sure the model was of its tokens, and the
verdict. Any of it may be missing. If there are other answers, and weights for the kind, a logistic
model calibrated by isotonic regression weighs the evidence
(`forebay.workers.training.fitting.fit_doubt`). Otherwise a rule without weights does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from pydantic import Field

from forebay.routing.base import Kind
from forebay.routing.scoring.weights_file import FittedModel, WeightsFile

#: The rule without weights: the doubt about an answer that others share, what is added if they
#: differ, and what the verdict adds at most. The verdict ranks answers with equal agreement.
DOUBT_IF_SHARED, DOUBT_IF_DIFFERENT, DOUBT_OF_VERDICT = 0.04, 0.75, 0.16
PLAIN = "plain"  # the version of that rule


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence about a local answer, in numbers only.

    Attributes:
        kind: the kind of the job.
        verdict_probability, verdict_score: the verdict (`forebay.routing.receipts.Verdict`).
        agreements: agreement with each further local answer, 0 (differs) to 1 (the same). Empty
            if there was no second opinion.
        low_logprob: 10 % quantile of the natural-log probabilities of the answer's tokens.
        label_probability: probability of the chosen label among all labels.
    """

    kind: Kind
    verdict_probability: float
    verdict_score: float = 0.0
    agreements: tuple[float, ...] = ()
    low_logprob: float | None = None
    label_probability: float | None = None


class Weights(WeightsFile):
    """The content of a file of weights.

    Attributes:
        kinds: the kinds for which the model was fitted; other kinds use the rule without weights.
        start: the intercept.
        foreseen: weight of the verdict's score, which ranks answers with equal agreement.
        agreed, differed: weights of the number of answers that agree, and that differ.
        knots: the calibration: rising log-odds, each with the rate of wrong answers there.
    """

    kinds: tuple[Kind, ...]
    start: float
    foreseen: float
    agreed: float
    differed: float
    knots: tuple[tuple[float, float], ...] = Field(min_length=2)


class DoubtModel(FittedModel[Weights]):
    """The doubt model: the same evidence and weights always give the same probability."""

    weights_class = Weights
    packaged = Path(__file__).with_suffix(".json")

    def version_for(self, evidence: Evidence) -> str:
        """Return the version of what weighs this evidence: the weights, or the plain rule."""
        return self.version if self._fits(evidence) else PLAIN

    def probability(self, evidence: Evidence) -> float:
        """Return the probability, 0 to 1, that the answer is wrong."""
        if not self._fits(evidence):
            return _plain_doubt(evidence)
        return _interpolated(self._weights.knots, self.log_odds(evidence))

    def log_odds(self, evidence: Evidence) -> float:
        """Return the log-odds that the answer is wrong, before calibration."""
        weights = self._weights
        foreseen, agreed, differed = measures(evidence)
        return (
            weights.start
            + weights.foreseen * foreseen
            + weights.agreed * agreed
            + weights.differed * differed
        )

    def _fits(self, evidence: Evidence) -> bool:
        return bool(evidence.agreements) and evidence.kind in self._weights.kinds


def measures(evidence: Evidence) -> tuple[float, float, float]:
    """Return the verdict's score, how many other answers agree, and how many differ."""
    agreed = sum(evidence.agreements)
    return evidence.verdict_score, agreed, len(evidence.agreements) - agreed


def _interpolated(knots: tuple[tuple[float, float], ...], at: float) -> float:
    """Return the value on the line between the two knots around `at`, or at the end knot."""
    for (left, low), (right, high) in pairwise(knots):
        if at <= right:
            part = max(0.0, (at - left) / (right - left)) if right > left else 1.0
            return low + part * (high - low)
    return knots[-1][1]


def _plain_doubt(evidence: Evidence) -> float:
    """Return the doubt by the rule without weights.

    With other answers, it is how much they differ, and the verdict among equals. Without, it is the
    mean of what verdict, label and tokens each say.
    """
    foreseen = 1 - evidence.verdict_probability
    if evidence.agreements:
        differs = 1 - fmean(evidence.agreements)
        return DOUBT_IF_SHARED + DOUBT_IF_DIFFERENT * differs + DOUBT_OF_VERDICT * foreseen
    doubts = [foreseen]
    if evidence.label_probability is not None:
        doubts.append(1 - evidence.label_probability)
    if evidence.low_logprob is not None:
        doubts.append(1 - math.exp(min(0.0, evidence.low_logprob)))
    return fmean(doubts)
