"""After the answer: the probability that a local answer which passed its checks is wrong.

What speaks against an answer is that another local one differs, that its tokens came hesitantly,
and what the verdict said beforehand. Each may be missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Self

from routing.wire import Kind

#: Of the plain rule: how often an answer is wrong that another one shares, and how much more often
#: one that differs. The rest is left to the verdict, so that it ranks what agrees equally.
AGREED, DIFFERED, FORESEEN = 0.04, 0.75, 0.16


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a local answer. Numbers only.

    Attributes:
        verdict_probability, verdict_score: of the verdict (`routing.receipts.Verdict`).
        agreements: with each further local answer, 0 (differs) to 1 (the same); empty where no
            second opinion was taken.
        tokens_out: length of the answer.
        low_logprob: 10 % quantile of its tokens' natural-log probabilities.
        label_probability: of the chosen label among all labels.
    """

    kind: Kind
    verdict_probability: float
    verdict_score: float = 0.0
    agreements: tuple[float, ...] = ()
    tokens_out: int = 0
    low_logprob: float | None = None
    label_probability: float | None = None


class Doubt:
    """The model of doubt: the same evidence and weights always give the same probability."""

    @classmethod
    def load(cls) -> Self:
        """The model with the packaged weights."""
        return cls()

    @property
    def version(self) -> str:
        """Of the weights."""
        return "plain-1"

    def probability(self, evidence: Evidence) -> float:
        """How probable it is, 0 to 1, that the answer is wrong."""
        return _plain(evidence)


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
