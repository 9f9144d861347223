"""A content for each kind of job, the receipt of how it was made, and a job's status."""

from __future__ import annotations

from operator import not_
from typing import Annotated, Any, Generic, Literal

from pydantic import BaseModel, Field, computed_field, field_serializer, model_validator
from typing_extensions import TypeVar

from forebay.routing.base import NANO, Egress, FrozenModel, JobId, Kind, is_none, is_one, without
from forebay.routing.lanes import Lane
from forebay.routing.questions.decisions import Decisions

Status = Literal["done", "failed", "cancelled", "expired"]

#: The type of an extracted object: a dictionary, or the pydantic model that the caller named.
DataT_co = TypeVar("DataT_co", default=dict[str, Any], covariant=True)


class Classification(FrozenModel):
    """The label of the text.

    Attributes:
        label: the name of the chosen label.
        probability: how sure the lane is of the label, 0 to 1. `None` on Bedrock.
        scores: the probability of every label by its name; empty on Bedrock.
        temperature: by which the probabilities were calibrated; 1 if they are the model's own.
    """

    kind: Literal["classify"] = "classify"
    label: Annotated[str, Field(repr=False)]
    probability: Annotated[float | None, Field(ge=0, le=1)] = None
    scores: dict[str, float] = Field(default_factory=dict, repr=False)
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False, exclude_if=is_one)] = 1.0


class Extraction(FrozenModel, Generic[DataT_co]):
    """An object that validates against the schema of the job.

    Attributes:
        data: a dictionary; or an instance of the pydantic model class that `Extract` was given as
            its schema, if the answer came by a `JobHandle` or by `run` or `map`.
    """

    kind: Literal["extract"] = "extract"
    data: Annotated[DataT_co, Field(repr=False)]

    @field_serializer("data")
    def _plain_data(self, data: Any) -> dict[str, Any]:
        """Write the model that the caller named as the JSON object that it was read from."""
        if isinstance(data, BaseModel):
            return data.model_dump(mode="json", by_alias=True, exclude_unset=True)
        plain: dict[str, Any] = data
        return plain


class Summary(FrozenModel):
    """The summary of the text."""

    kind: Literal["summarize"] = "summarize"
    text: Annotated[str, Field(repr=False)]


class TokenLogprob(FrozenModel):
    """One token of an answer, and how probable it was.

    Attributes:
        token: the token's text.
        logprob: the natural logarithm of its probability.
        top: the most probable tokens at this place with theirs, the most probable first.
    """

    token: Annotated[str, Field(repr=False)]
    logprob: float
    top: Annotated[tuple[tuple[str, float], ...], Field(repr=False)] = ()


class Generation(FrozenModel):
    """The generated text.

    Attributes:
        text: what the model wrote.
        finish: `stop` if the model ended the text, `length` if it was cut off at `max_tokens` or
            at the end of the context.
        stop_sequence: the `stop` string that ended the text, if the engine says which one did.
        logprobs: the tokens that the model made, if the request asked for them. Their text may
            have white space at its ends that the answer's text has not.
    """

    kind: Literal["generate"] = "generate"
    text: Annotated[str, Field(repr=False)]
    finish: Literal["stop", "length"] = "stop"
    stop_sequence: Annotated[str | None, Field(repr=False, exclude_if=is_none)] = None
    logprobs: Annotated[tuple[TokenLogprob, ...] | None, Field(repr=False, exclude_if=is_none)] = (
        None
    )


class Embedding(FrozenModel):
    """One vector of unit length for each text, in the order of the texts."""

    kind: Literal["embed"] = "embed"
    vectors: Annotated[tuple[tuple[float, ...], ...], Field(repr=False)]


Content = Annotated[
    Classification | Extraction | Summary | Generation | Embedding | Decisions,
    Field(discriminator="kind"),
]

#: Any content, an extracted object of any type among them.
AnyContent = Classification | Extraction[Any] | Summary | Generation | Embedding | Decisions

#: The type of an answer's content. Without a parameter, `Answer` means `Answer[Content]`.
ContentT_co = TypeVar("ContentT_co", default=Content, covariant=True)


class Answerable(FrozenModel, Generic[ContentT_co]):
    """A request or a job, marked for type checkers with the type of content that answers it."""


class Verdict(FrozenModel):
    """The prediction of the router model about a job, before anybody has answered it.

    Attributes:
        probability: the calibrated probability, 0 to 1, that the local answer is good enough.
        score: the expected gain on Bedrock: how much better its answer is than the local one, each
            rated 0 to 1. Jobs are ranked by it; the largest goes up first.
        version: the version of the router model.
        features: the features that weigh most in the score, by name. They never hold content.
        encoded: the sentence encoder's reading of the text, if routers have one.
        threshold: the limit of the score if a pace is set, else of the probability, or `None`.
    """

    probability: Annotated[float, Field(ge=0, le=1)]
    score: float = 0.0
    version: str
    features: dict[str, float] = Field(default_factory=dict)
    encoded: Annotated[float | None, Field(exclude_if=is_none)] = None
    threshold: float | None = None


class Doubt(FrozenModel):
    """The probability that a local answer is wrong although it passed its checks.

    Attributes:
        probability: the calibrated probability, 0 to 1, that the answer is wrong.
        agreement: how far a second local answer agrees, 0 to 1; the mean, if there were two.
        agreements: with each of two further answers; else `None`.
        second: the model that gave the second answer, or both names.
        version: of the doubt model, or of the rule in its place; then, after a plus sign, that of
            the calibration, if there is one.
        threshold: the limit of the probability; `None` without a second answer and a pace.
        base: the probability before the calibration. `None` if it was not calibrated.
        bound: the most that may be wrong of such answers, if audits show it: the limit is for this.
        score: ranks the answer if a pace is set; the highest go up first. `None` without a pace.
        cascade: the version of the cascade model that gave the score. `None` if none did.
    """

    probability: Annotated[float, Field(ge=0, le=1)]
    agreement: Annotated[float | None, Field(ge=0, le=1)] = None
    agreements: Annotated[tuple[float, ...] | None, Field(exclude_if=is_none)] = None
    second: str | None = None
    version: str
    threshold: float | None = None
    base: Annotated[float | None, Field(ge=0, le=1, exclude_if=is_none)] = None
    bound: Annotated[float | None, Field(ge=0, le=1, exclude_if=is_none)] = None
    score: Annotated[float | None, Field(exclude_if=is_none)] = None
    cascade: Annotated[str | None, Field(exclude_if=is_none)] = None


class Check(FrozenModel):
    """One check of an answer, by a rule or by a second answer. `note` never holds content."""

    name: str
    passed: bool
    note: str = ""


class Receipt(FrozenModel):
    """The answer without its content: all that Celery, Flower, logs and metrics ever see.

    Attributes:
        egress: whether the content was allowed to leave the building.
        lane: where the answer was made. `None` if there is no answer.
        reasons: reason codes in order. The last says why this lane answered, or why nobody did.
        degraded: the answer did not pass its checks, or a better lane was shut or not allowed.
        cached: the answer is an exact earlier answer from the cache; it cost nothing.
        stand_in: the mock of Bedrock made the answer, not a model.
        model: the name of the model that answered.
        revision: the digest or version of that model.
        tokens_in, tokens_out: tokens read and made; with a second local answer, of both answers.
        tokens_cached: those of `tokens_in` that the model had read before, for an earlier prompt.
        cost_nusd: what the settled calls of the job cost, in billionths of a dollar.
        verdict: the router model's prediction. `None` if the router was not asked.
        checks: the checks of the answer and their findings.
        doubt: the doubt about the local answer; also on an answer from Bedrock if the doubt sent
            the job there. `None` without a local answer that passed its checks.
        attempts: how often the job was tried in its last hop.
        queued_s, worked_s, total_s: seconds spent waiting, being worked, and from submit to end.
        error, error_field: the code of the failure and the field to correct, if the job failed.
        error_note: what failed, in our own words, keywords of a schema and numbers; never content.
        replay_of: the id of the dead job that this job repeats.
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
    tokens_cached: Annotated[int, Field(exclude_if=not_)] = 0
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
    error_note: str | None = None
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
        """The reason why this lane answered, or why nobody did."""
        return self.reasons[-1] if self.reasons else ""


class Answer(Receipt, Generic[ContentT_co]):
    """The content that comes back, with the receipt of how it was made.

    `Answer[Classification]` is an answer whose `content` type checkers know. Reading stored data
    needs no parameter: `Answer.model_validate` chooses the class of the content by its kind.
    """

    content: ContentT_co

    @property
    def receipt(self) -> Receipt:
        """The same without the content."""
        return without("content", self, Receipt)


JobState = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]


class JobStatus(FrozenModel):
    """The state of a job, and its place in the queue.

    Attributes:
        state: what the job does now, or how it ended.
        hop: the stage that the job is in: `route`, `local` or `bedrock`.
        queue: the queue that the job waits in, or was taken from.
        position: how many jobs would be claimed before this job now; `None` unless the job waits.
        depth: the number of jobs that wait in the queue.
        served: a live worker serves the queue. A job in a queue that nobody serves waits in vain.
        attempts: how often the job was tried in its present hop so far.
        age_s: seconds since the job was submitted.
        created: when that was, in seconds since 1970.
        error: the code of the error after which the job is tried again, until it ends.
        receipt: the receipt, once the job has ended.
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
    created: float = 0.0
    error: str | None = None
    receipt: Receipt | None = None
