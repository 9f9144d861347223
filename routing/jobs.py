"""The wire contract: what a job is, and what comes back.

Everything here is frozen, checks itself when it is made, and says which field is wrong without
repeating what was in it. `routing.jobs` imports neither Celery nor Redis, so that any service can
use it to make and read jobs. `forebay schema` prints it as JSON Schema.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    computed_field,
    model_validator,
)
from pydantic.json_schema import models_json_schema

from routing.errors import EgressDenied, InvalidJob, TooLong
from routing.lanes import Lane
from routing.wire import (
    MAX_TEXT,
    JsonSchema,
    Kind,
    RegexPattern,
    Short,
    Text,
    Wire,
    explain,
)

MAX_METADATA = 32  # entries
NANO = 1_000_000_000  # money is counted in whole billionths of a dollar

Egress = Literal["deny", "allow"]
Pin = Literal["auto", "local", "bedrock"]
Priority = Literal["interactive", "bulk"]
Status = Literal["done", "failed", "cancelled", "expired"]

Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_JOB_ID = r"^[a-z0-9][a-z0-9_-]{0,62}\.[0-9a-f]{32}$"
JobId = Annotated[str, StringConstraints(pattern=_JOB_ID)]


# --- the five kinds -----------------------------------------------------------------------------


class Label(Wire):
    """One possible answer of a `classify` job. A description or examples make it much better."""

    name: Short = Field(repr=False)
    description: Annotated[str, StringConstraints(max_length=2_000)] = Field("", repr=False)
    examples: tuple[Annotated[str, StringConstraints(min_length=1, max_length=2_000)], ...] = Field(
        (), max_length=20, repr=False
    )


def _distinct(labels: Sequence[str | Label]) -> tuple[str | Label, ...]:
    names = [label if isinstance(label, str) else label.name for label in labels]
    if len({name.strip().casefold() for name in names}) < len(names):
        raise ValueError("no two labels may have the same name")
    if not all(name.strip() for name in names):
        raise ValueError("no label may be blank")
    return tuple(labels)


def _form(label: Any) -> str:
    return "label" if isinstance(label, dict | Label) else "name"


LabelOrName = Annotated[
    Annotated[Short, Tag("name")] | Annotated[Label, Tag("label")], Discriminator(_form)
]


class Classify(Wire):
    """Which of these labels does the text bear? Answered by a `Classification`."""

    kind: Literal["classify"] = "classify"
    text: Text = Field(repr=False)
    labels: Annotated[Sequence[LabelOrName], AfterValidator(_distinct)] = Field(
        min_length=2, max_length=100, repr=False
    )

    @property
    def options(self) -> tuple[Label, ...]:
        """The labels, a bare name made a `Label`."""
        return tuple(Label(name=one) if isinstance(one, str) else one for one in self.labels)


class Extract(Wire):
    """Fill this JSON Schema from the text. Answered by an `Extraction` that validates."""

    kind: Literal["extract"] = "extract"
    text: Text = Field(repr=False)
    schema_: JsonSchema = Field(alias="schema", repr=False)

    @model_validator(mode="after")
    def _an_object(self) -> Self:
        if self.schema_.get("type") != "object":
            raise InvalidJob('must describe an object ("type": "object")', field="schema")
        return self


class Summarize(Wire):
    """Say it in at most `max_words` words. Answered by a `Summary`."""

    kind: Literal["summarize"] = "summarize"
    text: Text = Field(repr=False)
    max_words: int = Field(60, ge=5, le=2_000)
    focus: Annotated[str, StringConstraints(max_length=500)] = Field("", repr=False)


class Message(Wire):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text = Field(repr=False)


class Generate(Wire):
    """Chat messages in, text out, optionally held to a JSON Schema or a regular expression."""

    kind: Literal["generate"] = "generate"
    messages: tuple[Message, ...] = Field(min_length=1, max_length=200, repr=False)
    max_tokens: int = Field(512, ge=1, le=16_384)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    stop: tuple[Short, ...] = Field((), max_length=4, repr=False)
    seed: int | None = Field(None, ge=0, lt=2**31)
    schema_: JsonSchema | None = Field(None, alias="schema", repr=False)
    regex: RegexPattern | None = Field(None, repr=False)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.schema_ is not None and self.regex is not None:
            raise InvalidJob("cannot be combined with schema", field="regex")
        if self.messages[-1].role != "user":
            raise InvalidJob("the last message must be the user's", field="messages")
        if sum(len(message.content) for message in self.messages) > MAX_TEXT:
            raise TooLong(f"should have at most {MAX_TEXT} characters in all", field="messages")
        return self


class Embed(Wire):
    """Turn texts into vectors. Answered by an `Embedding`, always in the local lane."""

    kind: Literal["embed"] = "embed"
    texts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=32_000)], ...] = Field(
        min_length=1, max_length=256, repr=False
    )


Request = Annotated[Classify | Extract | Summarize | Generate | Embed, Field(discriminator="kind")]


# --- the envelope -------------------------------------------------------------------------------


def new_id(tenant: str) -> str:
    """A fresh job id: the tenant it belongs to, and 128 random bits nobody can guess."""
    return f"{tenant}.{secrets.token_hex(16)}"


def owner(job_id: str) -> str | None:
    """The tenant that a job id belongs to; none for what cannot be an id of a job."""
    return job_id.partition(".")[0] if re.fullmatch(_JOB_ID[1:-1], job_id) else None


class Job(Wire):
    """A request of some kind with all that decides where, when and for how much it is answered.

    Attributes:
        id: `<tenant>.<128 random bits>`; made when left out.
        egress: may the content leave the building. A tenant's policy can force `deny`.
        lane: `auto` lets the router decide; a pin to `bedrock` needs `egress="allow"`.
        priority: `interactive` goes before `bulk`.
        deadline: a job not answered by then ends as expired; earlier deadlines go first.
        max_cost_usd: a call that might cost more is not made.
        idempotency_key: a second submit under the same key returns the first one's id.
        cache: an exact earlier answer to the same request will do.
        metadata: yours, given back with the answer's record; treated as content throughout.
    """

    tenant: Tenant = "default"
    id: JobId = ""
    egress: Egress = "deny"
    lane: Pin = "auto"
    priority: Priority = "interactive"
    deadline: AwareDatetime | None = None
    max_cost_usd: float | None = Field(None, ge=0, le=1_000_000, allow_inf_nan=False)
    idempotency_key: Short | None = Field(None, repr=False)
    cache: bool = False
    metadata: dict[Short, Annotated[str, StringConstraints(max_length=1_000)]] = Field(
        default_factory=dict, max_length=MAX_METADATA, repr=False
    )
    request: Request

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("id"):
            tenant = data.get("tenant", "default")
            return {**data, "id": new_id(tenant if isinstance(tenant, str) else "default")}
        return data

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.id.partition(".")[0] != self.tenant:
            raise InvalidJob("must begin with the tenant's name and a dot", field="id")
        if self.lane == "bedrock" and self.egress == "deny":
            raise EgressDenied('a job pinned to bedrock needs egress="allow"', field="egress")
        if self.lane == "bedrock" and self.kind == "embed":
            raise InvalidJob("embed is always local: vectors of two models differ", field="lane")
        return self

    @property
    def kind(self) -> Kind:
        """The kind of the request."""
        return self.request.kind


# --- what comes back ----------------------------------------------------------------------------


class Classification(Wire):
    """The label, how sure the lane is of it, and the probability of every label.

    A frontier model says a label and not how sure it is: no probability, no scores.
    """

    kind: Literal["classify"] = "classify"
    label: str = Field(repr=False)
    probability: float | None = Field(None, ge=0, le=1)
    scores: dict[str, float] = Field(default_factory=dict, repr=False)


class Extraction(Wire):
    """An object that validates against the job's schema."""

    kind: Literal["extract"] = "extract"
    data: dict[str, Any] = Field(repr=False)


class Summary(Wire):
    """The summary."""

    kind: Literal["summarize"] = "summarize"
    text: str = Field(repr=False)


class Generation(Wire):
    """The text, and why it ends where it ends."""

    kind: Literal["generate"] = "generate"
    text: str = Field(repr=False)
    finish: Literal["stop", "length"] = "stop"


class Embedding(Wire):
    """One vector of unit length a text, in the order of the texts."""

    kind: Literal["embed"] = "embed"
    vectors: tuple[tuple[float, ...], ...] = Field(repr=False)


Content = Annotated[
    Classification | Extraction | Summary | Generation | Embedding, Field(discriminator="kind")
]


class Verdict(Wire):
    """What the router model says of a job before anybody has answered it.

    Attributes:
        probability: calibrated probability, 0 to 1, that the local answer will do.
        version: of the model that said it.
        features: what weighed most, by name, in log-odds; names and numbers, never content.
    """

    probability: float = Field(ge=0, le=1)
    version: str
    features: dict[str, float] = Field(default_factory=dict)


class Check(Wire):
    """One deterministic check of an answer (`workers.verify`). `note` never holds content."""

    name: str
    passed: bool
    note: str = ""


class Receipt(Wire):
    """The answer without its content: all that Celery, Flower, logs and metrics ever see.

    Attributes:
        lane: where the answer was made; none where there is no answer.
        reasons: reason codes in the order they were given, the last is why this lane answered.
        degraded: the answer did not pass its checks, or a better lane was shut or not allowed.
        cached: an exact earlier answer was given again; it cost nothing.
        stand_in: made by the local stand-in for Bedrock, not by a model.
        revision: digest or version of the model.
        cost_nusd: billionths of a dollar, settled.
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


State = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]


class JobStatus(Wire):
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
    state: State
    hop: str
    queue: str
    position: int | None = None
    depth: int = 0
    served: bool = True
    attempts: int = 0
    age_s: float = 0.0
    receipt: Receipt | None = None


_REQUEST: TypeAdapter[Classify | Extract | Summarize | Generate | Embed] = TypeAdapter(Request)


def parse_request(data: Any) -> Classify | Extract | Summarize | Generate | Embed:
    """A request from JSON data.

    Raises:
        InvalidJob: Names the wrong field.
    """
    try:
        return _REQUEST.validate_python(data)
    except ValidationError as error:
        raise explain(error) from None


def parse_job(data: str | bytes | dict[str, Any]) -> Job:
    """A job from JSON text or data.

    Raises:
        InvalidJob: Names the wrong field.
        EgressDenied: The job is pinned to a lane its content may not reach.
    """
    if isinstance(data, dict):
        return Job.model_validate(data)
    try:
        return Job.model_validate_json(data)
    except ValidationError as error:
        raise explain(error) from None


def json_schema() -> dict[str, Any]:
    """The whole contract as one JSON Schema with `Job`, `Answer` and `Receipt` under `$defs`."""
    models = [(Job, "validation"), (Answer, "serialization"), (Receipt, "serialization")]
    _, schema = models_json_schema(cast("Any", models), title="Forebay")
    return schema


__all__ = [
    "Answer", "Check", "Classification", "Classify", "Content", "Embed", "Embedding", "Extract",
    "Extraction", "Generate", "Generation", "Job", "JobStatus", "Label", "Message", "Receipt",
    "Request", "Summarize", "Summary", "Verdict", "json_schema", "new_id", "parse_job",
    "parse_request",
]  # fmt: skip
