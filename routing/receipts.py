"""What comes back: contents by kind, the receipt of how they were made, and where a job is now."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, computed_field, model_validator

from forebay.routing.base import NANO, Egress, FrozenModel, JobId, Kind
from forebay.routing.lanes import Lane

Status = Literal["done", "failed", "cancelled", "expired"]


class Classification(FrozenModel):
    """The label, how sure the lane is of it, and the probability of every label.

    A frontier model says a label and not how sure it is: no probability, no scores.
    """

    kind: Literal["classify"] = "classify"
    label: str = Field(repr=False)
    probability: float | None = Field(None, ge=0, le=1)
    scores: dict[str, float] = Field(default_factory=dict, repr=False)


class Extraction(FrozenModel):
    """An object that validates against the job's schema."""

    kind: Literal["extract"] = "extract"
    data: dict[str, Any] = Field(repr=False)


class Summary(FrozenModel):
    """The summary."""

    kind: Literal["summarize"] = "summarize"
    text: str = Field(repr=False)


class Generation(FrozenModel):
    """The text, and why it ends where it ends."""

    kind: Literal["generate"] = "generate"
    text: str = Field(repr=False)
    finish: Literal["stop", "length"] = "stop"


class Embedding(FrozenModel):
    """One vector of unit length a text, in the order of the texts."""

    kind: Literal["embed"] = "embed"
    vectors: tuple[tuple[float, ...], ...] = Field(repr=False)


Content = Annotated[
    Classification | Extraction | Summary | Generation | Embedding, Field(discriminator="kind")
]


class Verdict(FrozenModel):
    """What the router model says of a job before anybody has answered it.

    Attributes:
        probability: calibrated probability, 0 to 1, that the local answer will do.
        score: what there is to be gained on Bedrock: the expected gap between its answer and the
            local one, 0 to 1 each; jobs are ranked by it, the largest goes first.
        version: of the model that said it.
        features: what weighed most in the score, by name; names and numbers, never content.
        threshold: what it was held against: the score where a pace is set, else the probability.
    """

    probability: float = Field(ge=0, le=1)
    score: float = 0.0
    version: str
    features: dict[str, float] = Field(default_factory=dict)
    threshold: float | None = None


class Doubt(FrozenModel):
    """How much a local answer that passed its checks is doubted, once it is there.

    Attributes:
        probability: that it is wrong.
        agreement: with a second local answer, 0 to 1; none where there was none.
        second: the model that gave the second answer.
        version: of the weights or the rule that said it.
        threshold: what the probability was held against; none where it was held against nothing,
            because there was neither a second answer nor a pace.
    """

    probability: float = Field(ge=0, le=1)
    agreement: float | None = Field(None, ge=0, le=1)
    second: str | None = None
    version: str
    threshold: float | None = None


class Check(FrozenModel):
    """One check of an answer, by rule or by a second answer. `note` never holds content."""

    name: str
    passed: bool
    note: str = ""


class Receipt(FrozenModel):
    """The answer without its content: all that Celery, Flower, logs and metrics ever see.

    Attributes:
        lane: where the answer was made; none where there is no answer.
        reasons: reason codes in the order they were given, the last is why this lane answered.
        degraded: the answer did not pass its checks, or a better lane was shut or not allowed.
        cached: an exact earlier answer was given again; it cost nothing.
        stand_in: made by the local mock of Bedrock, not by a model.
        revision: digest or version of the model.
        tokens_in, tokens_out: read and made, of all local answers where there was a second one.
        cost_nusd: billionths of a dollar, settled.
        doubt: about the local answer, on Bedrock's too if one sent the job there; none where
            there was no local answer, or none that passed its checks.
        queued_s, worked_s, total_s: seconds waiting, being worked, and from submit to end.
        error, error_field: code of the failure and the field to mend, where there was one.
        replay_of: the dead job that this one repeated.
    """

    id: JobId
    kind: Kind
    egress: Egress
    status: Status
    lane: Lane | None = None
    reasons: tuple[str, ...] = ()
    degraded: bool = False
    cached: bool = False
    stand_in: bool = False
    model: str | None = None
    revision: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nusd: int = 0
    verdict: Verdict | None = None
    checks: tuple[Check, ...] = ()
    doubt: Doubt | None = None
    attempts: int = 0
    queued_s: float = 0.0
    worked_s: float = 0.0
    total_s: float = 0.0
    error: str | None = None
    error_field: str | None = None
    replay_of: JobId | None = None

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know computed_field on property
    @property
    def cost_usd(self) -> float:
        """The cost in dollars."""
        return self.cost_nusd / NANO

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, data: Any) -> Any:
        if isinstance(data, dict) and "cost_usd" in data:
            return {key: value for key, value in data.items() if key != "cost_usd"}
        return data

    @property
    def reason(self) -> str:
        """Why this lane answered, or why nobody did."""
        return self.reasons[-1] if self.reasons else ""


class Answer(Receipt):
    """The content that comes back, with how it was made."""

    content: Content

    _content_fields: ClassVar[set[str]] = {"content"}

    @property
    def receipt(self) -> Receipt:
        """The same without the content."""
        return Receipt.model_validate(self.model_dump(exclude=self._content_fields))


JobState = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]


class JobStatus(FrozenModel):
    """Where a job is now.

    Attributes:
        position: jobs that would be claimed before it if nothing else came; only while it waits.
        depth: jobs waiting in its queue.
        served: a live worker serves its queue; a job in a queue nobody serves waits in vain.
        attempts: stays in the present hop so far.
        age_s: seconds since it was submitted.
    """

    id: JobId
    kind: Kind
    state: JobState
    hop: str
    queue: str
    position: int | None = None
    depth: int = 0
    served: bool = True
    attempts: int = 0
    age_s: float = 0.0
    receipt: Receipt | None = None
