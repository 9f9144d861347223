"""The contract of a line of a batch: its translation to jobs, and the way back to a response.

Each line goes through the same translation as a request to the live endpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.model_names import Target, target
from forebay.producers.gateway.asking.tools import Tools
from forebay.producers.gateway.errors import Fault, NotSupported
from forebay.routing.base import Egress, Kind
from forebay.routing.jobs import Answer, Job
from forebay.routing.policy.policy_file import Policy

NOT_PER_LINE = ("deadline", "max_cost_usd", "idempotency_key")
Unanswered = Literal["expired", "cancelled"]


@dataclass(frozen=True, slots=True)
class Desk:
    """What a translation needs beside the line.

    Attributes:
        tenant: whose requests they are.
        policy: the policy of now.
        aliases: names of models that clients send.
        egress: what the batch allows; a line may say less, or more.
        served: the models of the tenant's pools that answer each kind of job.
    """

    tenant: str
    policy: Policy
    aliases: Mapping[str, str]
    egress: Egress
    served: Mapping[Kind, Collection[str]]

    @property
    def headers(self) -> Mapping[str, str]:
        """What holds for all lines, as the headers of a live request would say it."""
        return {"forebay-egress": self.egress}

    def target(self, model: str, kind: Kind = "generate") -> Target:
        """Return what the name of a model asks for. Raises `UnknownModel`."""
        return target(model, self.tenant, self.policy, self.aliases, self.served[kind])


@dataclass(frozen=True, slots=True)
class Translated:
    """A line as jobs.

    Attributes:
        jobs: one for each answer that the line asks for.
        told: what the response repeats of the request, as JSON.
    """

    jobs: Sequence[Job] = field(repr=False)
    told: Mapping[str, Any] = field(default_factory=dict, repr=False)


class LineFormat(Protocol):
    """How one endpoint's lines are read and answered.

    Attributes:
        endpoint: the path of the live endpoint.
        max_requests, max_bytes: of one batch.
        errors_apart: lines without an answer are written to a file of their own.
    """

    endpoint: ClassVar[str]
    max_requests: ClassVar[int]
    max_bytes: ClassVar[int]
    errors_apart: ClassVar[bool]

    def translate(self, body: Any, desk: Desk) -> Translated:
        """Return the jobs of a line. Raises `Refusal` or `ForebayError`."""

    def response(self, answers: Sequence[Answer], told: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the live endpoint would respond."""

    def answered(self, line_id: str, custom_id: str, body: Mapping[str, Any]) -> Any:
        """Return the line of the output for a request with an answer."""

    def failed(self, line_id: str, custom_id: str, fault: Fault) -> Any:
        """Return the line of the output for a request that was refused, or failed."""

    def unanswered(self, line_id: str, custom_id: str, why: Unanswered) -> Any:
        """Return the line of the output for a request that nobody answered in time."""


def check_jobs(jobs: Sequence[Job]) -> None:
    """Refuse what holds for a whole batch only.

    Raises:
        NotSupported: Names the field.
    """
    job = jobs[0]
    if job.lane == "bedrock":
        words = "must not be bedrock in a batch: its requests try the local lane first"
        raise NotSupported(words, field="model")
    for name in NOT_PER_LINE:
        if getattr(job, name) is not None:
            words = "cannot be set for one line: set it for the whole batch"
            raise NotSupported(words, field=f"forebay.{name}")


def tools_told(chat: Chat) -> dict[str, Any]:
    """Return what `told_tools` reads of a line's request."""
    return {"tools": chat.form is not None, "begun": chat.form.begun if chat.form else ""}


def told_tools(told: Mapping[str, Any]) -> Tools | None:
    """Return the form of an answer that may call tools, if the line's request has any."""
    return Tools((), begun=told.get("begun", "")) if told.get("tools") else None


def check_no_stream(stream: bool | None) -> None:  # noqa: FBT001 - as the body has it
    """Refuse a line that asks for a stream."""
    if stream:
        raise NotSupported("must be false in a batch", field="stream")
