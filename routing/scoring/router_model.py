"""The router model: predict what Bedrock would gain on a job, and whether the local answer will do.

A verdict starts from a prior: the mean of the job's type if the caller knows one, else of its kind.
The text (`text_model`, fitted) and the request (`request_features`, stated weights) move it from
there. The model is plain Python, so that a router needs no numeric library.
MODEL_CARD.md says how it was fitted.
"""

from __future__ import annotations

import math
from operator import not_
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from pydantic import Field, model_validator

from forebay.routing.base import KINDS, Kind, is_none
from forebay.routing.jobs import Job, Verdict
from forebay.routing.scoring.logit import logistic
from forebay.routing.scoring.request_features import request_features
from forebay.routing.scoring.text_model import TextModel
from forebay.routing.scoring.weights_file import FittedModel, StrictModel, WeightsFile

MAX_REASONS_NAMED = 6  # contributions named in a verdict

#: How much one unit of log-odds against the local answer adds to the gap. In the middle of the
#: logistic curve, one unit lowers the chance by a quarter. The frontier's answer loses some too.
GAP_PER_LOGIT = 0.15

Parts = tuple[float, float, float]


class VerdictSource(Protocol):
    """A source of verdicts: this model, a language model or a decision model."""

    @property
    def version(self) -> str:
        """The version of the weights, which every verdict carries."""

    def prior_gap(self, kind: Kind) -> float:
        """Return the mean gap of a kind, before the job is read."""

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """Return the expected gap, and the probability that the local answer will do."""


class Prior(StrictModel):
    """The prior of a kind or type: mean gap, and log-odds that the local answer will do."""

    gap: float
    ok: float


class Evidence(StrictModel):
    """What a mixture of the text models reached on sources that it was not fitted to.

    Attributes:
        parts: the shares of hashed n-grams, features and trees.
        apgr: the average performance gap recovered, by source.
    """

    parts: Parts
    apgr: dict[str, float]


class Weights(WeightsFile):
    """The content of a file of weights.

    Attributes:
        note: how the weights were fitted.
        parts: the shares of hashed n-grams, features and trees in the text model.
        evidence: what these were chosen by, if the file of the prompts had several sources.
        kinds: the prior of each kind.
        types: the prior of each job type, if the model was fitted with job types.
        text_share: by kind, the share of the text model's output that counts.
        shape: log-odds by unit of a feature of the request (`request_features`).
        text: the text model.
    """

    kind: ClassVar[str] = "text"
    note: tuple[str, ...] = ()
    parts: Parts | None = Field(None, exclude_if=is_none)
    evidence: tuple[Evidence, ...] = Field((), max_length=200, exclude_if=not_)
    kinds: dict[Kind, Prior]
    types: dict[str, Prior] = Field(default_factory=dict, repr=False)
    text_share: dict[Kind, float]
    shape: dict[str, float]
    text: TextModel

    @model_validator(mode="before")
    @classmethod
    def _with_decide(cls, data: Any) -> Any:
        """Give weights that were fitted before there was `decide` the prior of `classify`."""
        if isinstance(data, dict):
            for table in (data.get("kinds"), data.get("text_share")):
                if isinstance(table, dict) and "classify" in table:
                    table.setdefault("decide", table["classify"])
        return data

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.kinds) != set(KINDS) or set(self.text_share) != set(KINDS):
            raise ValueError("must hold every kind in `kinds` and `text_share`")
        return self


class Reading(NamedTuple):
    """The model's output for a bare prompt: expected gap, and probability that it will do."""

    gap: float
    probability: float


class RouterModel(FittedModel[Weights]):
    """The router model: the same job and weights always give the same verdict."""

    weights_class = Weights
    packaged = Path(__file__).with_suffix(".json")

    def prior_gap(self, kind: Kind) -> float:
        """Return the mean gap of a kind, before the job is read."""
        return self._weights.kinds[kind].gap

    def verdict(self, job: Job, type_gap: float | None = None) -> Verdict:
        """Return the expected gap on Bedrock, and the probability that the local answer will do.

        Args:
            job: any job. The cost of a verdict does not grow with the text.
            type_gap: mean gap seen for jobs of the same type, shrunk towards the prior by the
                caller. None if there is none.
        """
        weights, kind = self._weights, job.kind
        prior = _prior(weights.kinds[kind], type_gap)
        text, features = request_features(job)
        asked = {name: weights.shape.get(name, 0.0) * value for name, value in features.items()}
        parts = {f"kind_{kind}": prior.gap}
        parts |= {name: -GAP_PER_LOGIT * log_odds for name, log_odds in asked.items()}
        log_odds = prior.ok + math.fsum(asked.values())
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
        """Return the model's output for a bare prompt, for training and evaluation."""
        weights = self._weights
        prior = weights.types.get(job_type or "", weights.kinds["generate"])
        view = weights.text.view(prompt)
        return Reading(
            prior.gap + weights.text.gap(view), _chance(prior.ok + weights.text.ok(view))
        )


def _prior(kind: Prior, type_gap: float | None) -> Prior:
    """Return the prior of a job. A type with a larger gap than its kind also has lower odds."""
    if type_gap is None:
        return kind
    return Prior(gap=type_gap, ok=kind.ok - (type_gap - kind.gap) / GAP_PER_LOGIT)


def _top(parts: dict[str, float]) -> dict[str, float]:
    """Return the largest contributions to a score, the largest first."""
    top = sorted(parts, key=lambda name: (-abs(parts[name]), name))[:MAX_REASONS_NAMED]
    return {name: round(parts[name], 3) for name in top if parts[name]}


def _chance(log_odds: float) -> float:
    return round(logistic(log_odds), 6)
