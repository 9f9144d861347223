"""The small router model: a job in; what there is to gain on Bedrock, and the odds, out.

A verdict starts from what is usual: of the job's own type, where the caller has seen some, else of
its kind. What the text looks like (`routing.scoring.text_model`, fitted) and what is asked for
(`forebay.routing.scoring.request_features`, stated priors) move it from there. All in plain Python, so that a router needs
no numeric library; how the weights came about is told in MODEL_CARD.md.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from pydantic import Field, model_validator

from forebay.routing.base import KINDS, Kind
from forebay.routing.jobs import Job, Verdict
from forebay.routing.scoring.logit import logistic
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.text_model import TextModel
from forebay.routing.scoring.weights_file import StrictModel, WeightsFile

MAX_REASONS_NAMED = 6  # contributions named in a verdict
SIZE = 500_000  # bytes that a file of weights may have

#: What a unit of log-odds against the local answer is worth as a gap. One in the middle of the
#: curve takes a quarter off its chance; the frontier's answer loses something as well.
GAP_PER_LOGIT = 0.15

_PACKAGED = Path(__file__).with_suffix(".json")


class VerdictSource(Protocol):
    """Whatever gives verdicts: this model, or a language model (`forebay.workers.cascade.llm_router_model`)."""

    @property
    def version(self) -> str:
        """Of the weights; every verdict carries it."""

    def usual_gap(self, kind: Kind) -> float:
        """The mean gap of a kind, before anything is looked at."""

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """What there is to gain, and the probability that the local answer will do."""


class Prior(StrictModel):
    """What is usual: the mean gap, and the log-odds that the local answer will do."""

    gap: float
    ok: float


class Weights(WeightsFile):
    """What a file of weights holds.

    Attributes:
        kinds: what is usual by kind, before anything is looked at.
        types: what is usual by job type, where the model was fitted with them.
        text_share: by kind, how much of what the text says counts.
        shape: log-odds by unit of a feature of what is asked (`routing.scoring.request_features`).
    """

    note: tuple[str, ...] = ()
    kinds: dict[Kind, Prior]
    types: dict[str, Prior] = Field(default_factory=dict, repr=False)
    text_share: dict[Kind, float]
    shape: dict[str, float]
    text: TextModel

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.kinds) != set(KINDS) or set(self.text_share) != set(KINDS):
            raise ValueError("a kind is missing")
        return self


class Reading(NamedTuple):
    """What the model says of a bare prompt: the expected gap, and the chance to do."""

    gap: float
    probability: float


class RouterModel:
    """The router model: the same job and weights always give the same verdict."""

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
        """Of the weights; every verdict carries it."""
        return self._weights.version

    def usual_gap(self, kind: Kind) -> float:
        """The mean gap of a kind, before anything is looked at."""
        return self._weights.kinds[kind].gap

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """What there is to gain on Bedrock, and how probable it is that the local answer will do.

        Args:
            job: any job; what a verdict costs does not grow with its text.
            type_gap: mean gap that was seen for jobs like this one, shrunk by whoever saw it.
        """
        weights, kind = self._weights, job.kind
        usual = _usual(weights.kinds[kind], type_gap)
        text, shape = request_features(job)
        asked = {name: weights.shape.get(name, 0.0) * value for name, value in shape.items()}
        parts = {f"kind_{kind}": usual.gap}
        parts |= {name: -GAP_PER_LOGIT * log_odds for name, log_odds in asked.items()}
        log_odds = usual.ok + math.fsum(asked.values())
        if share := weights.text_share[kind]:
            view = weights.text.view(text)
            log_odds += share * weights.text.ok(view)
            parts |= {name: share * value for name, value in weights.text.gap.parts(view).items()}
        return Verdict(
            probability=_chance(log_odds),
            score=round(math.fsum(parts.values()), 6),
            version=self.version,
            features=_top(parts),
        )

    def read(self, prompt: str, job_type: str | None = None) -> Reading:
        """What it says of a prompt with nothing around it, for training and evaluation."""
        weights = self._weights
        usual = weights.types.get(job_type or "", weights.kinds["generate"])
        view = weights.text.view(prompt)
        return Reading(
            usual.gap + weights.text.gap(view), _chance(usual.ok + weights.text.ok(view))
        )


def _usual(kind: Prior, type_gap: float | None) -> Prior:
    """A type that is known to lose more than its kind is less likely to do, too."""
    if type_gap is None:
        return kind
    return Prior(gap=type_gap, ok=kind.ok - (type_gap - kind.gap) / GAP_PER_LOGIT)


def _top(parts: dict[str, float]) -> dict[str, float]:
    top = sorted(parts, key=lambda name: (-abs(parts[name]), name))[:MAX_REASONS_NAMED]
    return {name: round(parts[name], 3) for name in top if parts[name]}


def _chance(log_odds: float) -> float:
    return round(logistic(log_odds), 6)
