"""The doubt model: the probability that a local answer which passed its checks is wrong.

The evidence is whether other local answers agree, how often these models agree otherwise, how sure
the model was of its tokens, and the verdict. Any of it may be missing. Audits of one's own answers
correct the model (`forebay.routing.learning.doubt_calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from forebay.routing.base import Kind, is_one
from forebay.routing.scoring.logit import logistic, logit
from forebay.routing.scoring.weights_file import FittedModel, StrictModel, WeightsFile

PLAIN = "plain"  # the version of the rule for an answer without a second opinion

#: The most that the verdict adds to a score. Away from the texts that it was fitted to, it says too
#: little to change a probability.
TIE_BREAK = 1e-4

#: Models that agree nearly always, or nearly never, tell no more than at these rates.
MIN_RATE, MAX_RATE = 0.1, 0.95
#: No answer is certainly right, or certainly wrong, before audits say so.
MAX_LOG_ODDS = 4.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence about a local answer, in numbers only.

    Attributes:
        kind: the kind of the job.
        verdict_probability, verdict_score: the verdict (`forebay.routing.receipts.Verdict`).
        agreements: agreement with each further local answer, 0 (differs) to 1 (the same). Empty
            if there was no second opinion.
        rates: the mean agreement of the models of each further answer on such jobs, 0 to 1. Empty
            if it is not known.
        own: whether the same model gave each further answer, to other words. Empty: none of them.
        near: whether a near relative gave each further answer (`relatives`). Empty: none of them.
        bounded: the answer is one of few options, or words: wrong answers are often the same.
        low_logprob: 10 % quantile of the natural-log probabilities of the answer's tokens.
        label_probability: probability of the chosen label among all labels.
    """

    kind: Kind
    verdict_probability: float
    verdict_score: float = 0.0
    agreements: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    own: tuple[bool, ...] = ()
    near: tuple[bool, ...] = ()
    bounded: bool = False
    low_logprob: float | None = None
    label_probability: float | None = None


class Line(StrictModel):
    """The log-odds that an answer is wrong, as a line over the log-odds of the agreement rate."""

    at_even: float
    slope: float = Field(le=0)

    def __call__(self, rate: float) -> float:
        """Return the log-odds for models that agree at this rate."""
        return self.at_even + self.slope * logit(max(MIN_RATE, min(MAX_RATE, rate)))


class Weights(WeightsFile):
    """The content of a file of weights.

    Attributes:
        agreed, differed: the doubt about an answer that another model's answer agrees with, and
            about one that it differs from. Models that agree often are often right.
        unbounded: is added to `agreed` for answers that are not bounded: two models rarely invent
            the same wrong number.
        usual_rate: the rate of agreement that is assumed if it is not known.
        further: what each of several further answers counts; a single one counts 1.
        own: what the agreement of a model with itself counts, against that of another model.
        near: what the agreement with a near relative counts. Weights of earlier releases know none.
    """

    kind: ClassVar[str] = "doubt"
    agreed: Line
    differed: Line
    unbounded: float = Field(le=0)
    usual_rate: float = Field(gt=0, lt=1)
    further: float = Field(gt=0, le=1)
    own: float = Field(ge=0, le=1)
    near: float = Field(1.0, ge=0, le=1, exclude_if=is_one)


class DoubtModel(FittedModel[Weights]):
    """The doubt model: the same evidence and weights always give the same probability."""

    weights_class = Weights
    packaged = Path(__file__).with_suffix(".json")

    @property
    def usual_rate(self) -> float:
        """The rate at which models are assumed to agree if it is not known."""
        return self._weights.usual_rate

    def version_for(self, evidence: Evidence) -> str:
        """Return the version of what weighs this evidence: the weights, or the plain rule."""
        return self.version if evidence.agreements else PLAIN

    def probability(self, evidence: Evidence) -> float:
        """Return the probability, 0 to 1, that the answer is wrong."""
        if not evidence.agreements:
            return _plain_doubt(evidence)
        return logistic(max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, self._log_odds(evidence))))

    def _log_odds(self, evidence: Evidence) -> float:
        """Return the log-odds that the answer is wrong: the mean before, and what others add."""
        rates = evidence.rates or (self.usual_rate,) * len(evidence.agreements)
        shares = self._shares(evidence)
        weight = 1.0 if len(rates) == 1 else self._weights.further
        before, added = [], 0.0
        for agreement, rate, share in zip(evidence.agreements, rates, shares, strict=True):
            agreed, differed = self._ends(rate, share, bounded=evidence.bounded)
            mean = logit(rate * logistic(agreed) + (1 - rate) * logistic(differed))
            before.append(mean)
            added += weight * (agreement * agreed + (1 - agreement) * differed - mean)
        return fmean(before) + added

    def _shares(self, evidence: Evidence) -> list[float]:
        """Return what each further answer's agreement counts, against that of a stranger."""
        nobody = (False,) * len(evidence.agreements)
        pairs = zip(evidence.own or nobody, evidence.near or nobody, strict=True)
        weights = self._weights
        return [weights.own if own else weights.near if near else 1.0 for own, near in pairs]

    def _ends(self, rate: float, share: float, *, bounded: bool) -> tuple[float, float]:
        """Return the log-odds if another answer is the same, and if it is another one."""
        weights = self._weights
        agreed, differed = weights.agreed(rate), weights.differed(rate)
        if not bounded:
            agreed += weights.unbounded
        return min(share * agreed, differed), differed


def tie_break(verdict_score: float) -> float:
    """Return what a verdict adds to a score, so that it ranks equal doubts and no others."""
    return TIE_BREAK * max(-1.0, min(1.0, verdict_score))


def _plain_doubt(evidence: Evidence) -> float:
    """Return the doubt without a further answer: the mean of what verdict, label and tokens say."""
    doubts = [1 - evidence.verdict_probability]
    if evidence.label_probability is not None:
        doubts.append(1 - evidence.label_probability)
    if evidence.low_logprob is not None:
        doubts.append(1 - math.exp(min(0.0, evidence.low_logprob)))
    return fmean(doubts)
