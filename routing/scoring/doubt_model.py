"""After the answer: the probability that a local answer which passed its checks is wrong.

What speaks against an answer is that another local one differs, that its tokens came hesitantly,
and what the verdict said beforehand. Each may be missing. Where another answer was asked for, and
there are weights for the kind, a fitted model weighs them (`forebay.workers.training.fitting.fit_doubt`); else a
plain rule does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Self

from pydantic import Field

from forebay.routing.base import Kind
from forebay.routing.scoring.weights_file import WeightsFile

#: Of the plain rule: how often an answer is wrong that another one shares, and how much more often
#: one that differs. The rest is left to the verdict, so that it ranks what agrees equally.
AGREED, DIFFERED, FORESEEN = 0.04, 0.75, 0.16
PLAIN = "plain"  # the rule's version

_PACKAGED = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a local answer. Numbers only.

    Attributes:
        verdict_probability, verdict_score: of the verdict (`forebay.routing.receipts.Verdict`).
        agreements: with each further local answer, 0 (differs) to 1 (the same); empty where no
            second opinion was taken.
        low_logprob: 10 % quantile of its tokens' natural-log probabilities.
        label_probability: of the chosen label among all labels.
    """

    kind: Kind
    verdict_probability: float
    verdict_score: float = 0.0
    agreements: tuple[float, ...] = ()
    low_logprob: float | None = None
    label_probability: float | None = None


class Weights(WeightsFile):
    """What a file of weights holds.

    Attributes:
        kinds: that the model was fitted for; the plain rule holds for the others.
        foreseen: weight of the verdict's score, which ranks those that agree equally.
        agreed, differed: weights of how many others agreed, and of how many differed.
        knots: log-odds that come out, rising, and how often such answers were wrong.
    """

    kinds: tuple[Kind, ...]
    start: float
    foreseen: float
    agreed: float
    differed: float
    knots: tuple[tuple[float, float], ...] = Field(min_length=2)


class DoubtModel:
    """The model of doubt: the same evidence and weights always give the same probability."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The model with these weights, or with the packaged ones.

        Raises:
            Misconfigured: The file cannot be read, or does not hold weights of this model.
        """
        return cls(Weights.read(path or _PACKAGED))

    @property
    def version(self) -> str:
        """Of the weights."""
        return self._weights.version

    def version_for(self, evidence: Evidence) -> str:
        """Of what weighs this evidence: the weights, or the plain rule."""
        return self.version if self._fits(evidence) else PLAIN

    def probability(self, evidence: Evidence) -> float:
        """How probable it is, 0 to 1, that the answer is wrong."""
        if not self._fits(evidence):
            return _plain(evidence)
        return _between(self._weights.knots, self.log_odds(evidence))

    def _fits(self, evidence: Evidence) -> bool:
        return bool(evidence.agreements) and evidence.kind in self._weights.kinds

    def log_odds(self, evidence: Evidence) -> float:
        """The log-odds before calibration."""
        weights = self._weights
        foreseen, agreed, differed = measures(evidence)
        return (
            weights.start
            + weights.foreseen * foreseen
            + weights.agreed * agreed
            + weights.differed * differed
        )


def measures(evidence: Evidence) -> tuple[float, float, float]:
    """The verdict's score; how many others agreed, and how many differed."""
    agreed = sum(evidence.agreements)
    return evidence.verdict_score, agreed, len(evidence.agreements) - agreed


def _between(knots: tuple[tuple[float, float], ...], at: float) -> float:
    """On the line between the two knots around; at the ends, what they say."""
    for (left, low), (right, high) in pairwise(knots):
        if at <= right:
            part = max(0.0, (at - left) / (right - left)) if right > left else 1.0
            return low + part * (high - low)
    return knots[-1][1]


def _plain(evidence: Evidence) -> float:
    """The rule without weights: doubt what differs; among equals, what the verdict doubted."""
    foreseen = 1 - evidence.verdict_probability
    if evidence.agreements:
        differs = 1 - fmean(evidence.agreements)
        return AGREED + DIFFERED * differs + FORESEEN * foreseen
    known = [foreseen]
    if evidence.label_probability is not None:
        known.append(1 - evidence.label_probability)
    if evidence.low_logprob is not None:
        known.append(1 - math.exp(min(0.0, evidence.low_logprob)))
    return fmean(known)
