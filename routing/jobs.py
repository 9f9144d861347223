"""The wire contract: what a job is, and what comes back.

Everything here is frozen, checks itself when it is made, and says which field is wrong without
repeating what was in it. `routing.jobs` imports neither Celery nor Redis, so that any service can
use it to make and read jobs. `forebay schema` prints it as JSON Schema.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import models_json_schema

from forebay.routing.base import (
    JOB_ID,
    MAX_TEXT,
    Egress,
    FrozenModel,
    JobId,
    JsonSchema,
    Kind,
    RegexPattern,
    Short,
    Tenant,
    Text,
    explain,
)
from forebay.routing.errors import EgressDenied, InvalidJob, TooLong
from forebay.routing.receipts import (
    Answer,
    Check,
    Classification,
    Content,
    Doubt,
    Embedding,
    Extraction,
    Generation,
    JobStatus,
    Receipt,
    Summary,
    Verdict,
)

MAX_METADATA = 32  # entries

Pin = Literal["auto", "local", "bedrock"]
Priority = Literal["interactive", "bulk"]


# --- the five kinds -----------------------------------------------------------------------------


class Label(FrozenModel):
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


class Classify(FrozenModel):
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


class Extract(FrozenModel):
    """Fill this JSON Schema from the text. Answered by an `Extraction` that validates."""

    kind: Literal["extract"] = "extract"
    text: Text = Field(repr=False)
    schema_: JsonSchema = Field(alias="schema", repr=False)

    @model_validator(mode="after")
    def _an_object(self) -> Self:
        if self.schema_.get("type") != "object":
            raise InvalidJob('must describe an object ("type": "object")', field="schema")
        return self


class Summarize(FrozenModel):
    """Say it in at most `max_words` words. Answered by a `Summary`."""

    kind: Literal["summarize"] = "summarize"
    text: Text = Field(repr=False)
    max_words: int = Field(60, ge=5, le=2_000)
    focus: Annotated[str, StringConstraints(max_length=500)] = Field("", repr=False)


class Message(FrozenModel):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text = Field(repr=False)


class Generate(FrozenModel):
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


class Embed(FrozenModel):
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
    return job_id.partition(".")[0] if re.fullmatch(JOB_ID[1:-1], job_id) else None


class Job(FrozenModel):
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
    "Answer", "Check", "Classification", "Classify", "Content", "Doubt", "Embed", "Embedding",
    "Extract", "Extraction", "Generate", "Generation", "Job", "JobStatus", "Label", "Message",
    "Receipt", "Request", "Summarize", "Summary", "Verdict", "json_schema", "new_id", "parse_job",
    "parse_request",
]  # fmt: skip
