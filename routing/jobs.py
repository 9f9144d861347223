"""The wire contract: what a job is, and what comes back.

Everything here is frozen and checks itself when it is made; an error names the wrong field and
never repeats its value. `forebay.routing.jobs` imports neither Celery nor Redis, so that any
service can use it to make and read jobs. `forebay schema` prints the contract as JSON Schema.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, cast

from pydantic import (
    AwareDatetime,
    Field,
    StringConstraints,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import models_json_schema
from typing_extensions import TypeVar

from forebay.routing.base import (
    JOB_ID,
    Egress,
    JobId,
    Kind,
    Short,
    Tenant,
    changed,
    explain,
    is_none,
)
from forebay.routing.errors import EgressDenied, InvalidJob
from forebay.routing.questions.decisions import Decisions, QuestionAnswer
from forebay.routing.questions.labels import Label
from forebay.routing.questions.questions import Choice, Predicate, Score
from forebay.routing.receipts import (
    Answer,
    Answerable,
    AnyContent,
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
from forebay.routing.requests import (
    Classify,
    Decide,
    Embed,
    Extract,
    Generate,
    Message,
    Request,
    Summarize,
    parse_request,
)

#: The version of what is stored for a job. Raise it if workers of the release before could not read
#: a new job, as for a new field or kind: they then leave such jobs to newer workers. A job carries
#: the lowest version that can read it (`Job.contract`). Answers need no version, because whoever
#: reads an answer ignores fields that it does not know.
CONTRACT = 2

MAX_METADATA_ENTRIES = 32

Pin = Literal["auto", "local", "bedrock"]
Priority = Literal["interactive", "bulk"]


def new_id(tenant: str) -> str:
    """Return a fresh job id: the tenant's name, and 128 random bits that nobody can guess."""
    return f"{tenant}.{secrets.token_hex(16)}"


def owner(job_id: object) -> str | None:
    """Return the tenant that a job id belongs to; `None` if the value cannot be a job id."""
    if not isinstance(job_id, str) or not re.fullmatch(JOB_ID[1:-1], job_id):
        return None
    return job_id.partition(".")[0]


def _read_deadline(value: Any, handler: Any) -> datetime:
    """Return the deadline as a time. A bare number could mean anything, so it is refused."""
    if isinstance(value, timedelta):
        return _from_now(value)
    if isinstance(value, datetime) or (isinstance(value, str) and _ISO_TIME.match(value)):
        try:
            return cast("datetime", handler(value))
        except ValidationError:
            pass
    raise ValueError(
        "must be a time with a time zone like 2026-01-31T12:00:00Z; Python also takes a datetime "
        "with a time zone or a timedelta from now, the command line 30s, 5m, 2h or 1d"
    )


def _from_now(span: timedelta) -> datetime:
    now = datetime.now(UTC)
    try:
        return now + span
    except OverflowError:
        if span < timedelta():
            raise ValueError("must be in the future") from None
        max_days = (datetime.max.replace(tzinfo=UTC) - now).days
        raise ValueError(f"must be at most {max_days} days from now") from None


_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt _]")
Deadline = Annotated[AwareDatetime, WrapValidator(_read_deadline)]


#: The type of the content that answers a job. Without a parameter, `Job` is a job of any content.
JobContentT_co = TypeVar("JobContentT_co", default=AnyContent, covariant=True)


class Job(Answerable[JobContentT_co], Generic[JobContentT_co]):
    """A request with everything that decides where, when and for how much it is answered.

    Attributes:
        tenant: whose job this is.
        id: `<tenant>.<128 random bits>`; made if left out.
        egress: `allow` if the content may leave the building. A tenant's policy can force `deny`.
        lane: `auto` lets the router decide; a pin to `bedrock` needs `egress="allow"`.
        model: the only model that may answer, in the lane that the job is pinned to: one of the
            tenant's `models` on Bedrock, or one that a pool of the tenant serves.
        priority: `interactive` goes before `bulk`.
        deadline: a job that is not answered by then ends as expired; earlier deadlines go first. A
            time with a time zone, or a `timedelta` from now.
        max_cost_usd: a call that might cost more dollars than this is not made.
        idempotency_key: a second submit under the same key returns the id of the first job.
        cache: accept an exact earlier answer to the same request.
        stream: write the text of a `generate` job to the job's stream while it is generated.
        metadata: up to 32 entries of the caller's own; treated as content throughout.
        request: what is asked.
    """

    tenant: Tenant = "default"
    id: JobId = ""
    egress: Egress = "deny"
    lane: Pin = "auto"
    model: Annotated[Short | None, Field(exclude_if=is_none)] = None
    priority: Priority = "interactive"
    deadline: Deadline | None = None
    max_cost_usd: Annotated[float | None, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = None
    idempotency_key: Annotated[Short | None, Field(repr=False)] = None
    cache: bool = False
    stream: bool = False
    metadata: dict[Short, Annotated[str, StringConstraints(max_length=1_000)]] = Field(
        default_factory=dict, max_length=MAX_METADATA_ENTRIES, repr=False
    )
    request: Request

    if TYPE_CHECKING:  # so that type checkers infer the content from the request

        def __init__(
            self,
            *,
            request: Answerable[JobContentT_co],
            tenant: str = ...,
            id: str = ...,  # noqa: A002 - the name on the wire
            egress: Egress = ...,
            lane: Pin = ...,
            model: str | None = ...,
            priority: Priority = ...,
            deadline: datetime | timedelta | None = ...,
            max_cost_usd: float | None = ...,
            idempotency_key: str | None = ...,
            cache: bool = ...,
            stream: bool = ...,
            metadata: dict[str, str] = ...,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _with_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("id"):
            tenant = data.get("tenant", "default")
            return {**data, "id": new_id(tenant if isinstance(tenant, str) else "default")}
        return data

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.id.partition(".")[0] != self.tenant:
            raise InvalidJob("must begin with the tenant's name and a dot", field="id")
        self._check_lane()
        return self

    def _check_lane(self) -> None:
        """Raise an error if the lane cannot take the request, or needs other options."""
        if self.lane == "bedrock" and self.egress == "deny":
            raise EgressDenied('a job pinned to bedrock needs egress="allow"', field="egress")
        if self.lane == "auto" and self.model is not None:
            raise InvalidJob('needs lane="local" or lane="bedrock": where it is', field="model")
        if self.lane == "bedrock" and self.kind == "embed":
            raise InvalidJob("embed is always local: vectors of two models differ", field="lane")
        if self.lane == "bedrock" and self.wants_logprobs:
            raise InvalidJob("must not be bedrock: it tells no logprobs", field="lane")

    @property
    def kind(self) -> Kind:
        """The kind of the request."""
        return self.request.kind

    @property
    def wants_logprobs(self) -> bool:
        """True if the answer is to tell the probabilities of its tokens."""
        return isinstance(self.request, Generate) and self.request.logprobs is not None

    @property
    def contract(self) -> int:
        """The lowest version of the contract that can read this job."""
        return 2 if self.wants_logprobs or self.model is not None else 1

    def asking(self, request: Answerable[Any]) -> Job[Any]:
        """Return a new job with another request and the same options, which are valid already.

        Raises:
            InvalidJob: The lane cannot take the request.
        """
        job: Job[Any] = changed(self, id=new_id(self.tenant), request=request)
        job._check_lane()
        return job

    def stored(self) -> bytes:
        """Return the job as JSON for storage: fields that were left out have their defaults."""
        given = {"tenant", "id", *self.model_fields_set}
        return self.model_dump_json(by_alias=True, include=given).encode()


def parse_job(data: str | bytes | dict[str, Any]) -> Job:
    """Read a job from JSON text or data.

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
    """Return the whole contract as one JSON Schema, `Job`, `Answer` and `Receipt` under `$defs`."""
    models = [(Job, "validation"), (Answer, "serialization"), (Receipt, "serialization")]
    _, schema = models_json_schema(cast("Any", models), title="Forebay")
    return {**schema, "contract": CONTRACT}


__all__ = [
    "CONTRACT",
    "Answer", "Answerable", "Check", "Choice", "Classification", "Classify", "Content", "Decide",
    "Decisions", "Doubt", "Embed", "Embedding", "Extract", "Extraction", "Generate", "Generation",
    "Job", "JobStatus", "Label", "Message", "Predicate", "QuestionAnswer", "Receipt", "Request",
    "Score", "Summarize", "Summary", "Verdict", "json_schema", "new_id", "parse_job",
    "parse_request",
]  # fmt: skip
