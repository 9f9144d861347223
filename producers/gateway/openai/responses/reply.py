"""A response object, as OpenAI's clients read it, and the job that it stands for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.chats import reply_of, tokens_of, was_cut
from forebay.producers.gateway.asking.token_usage import TokenUsage, token_usage
from forebay.producers.gateway.asking.tools import Call, Tools
from forebay.producers.gateway.errors import fault_of
from forebay.producers.gateway.openai.replies import ChosenLogprob, scored
from forebay.routing.errors import ForebayError, NotFound
from forebay.routing.jobs import Answer, JobStatus
from forebay.routing.receipts import TokenLogprob

_ID = re.compile(r"resp_([0-9a-f]{32})")
ResponseState = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_STATES: dict[str, ResponseState] = {
    "waiting": "queued", "running": "in_progress", "done": "completed", "failed": "failed",
    "cancelled": "cancelled", "expired": "failed",
}  # fmt: skip


class OutputText(TypedDict):
    """The text of an output message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChosenLogprob]


class OutputMessage(TypedDict):
    """The answer as a message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class OutputCall(TypedDict):
    """A call of a tool that the caller is to make."""

    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: Literal["completed"]


class ResponseError(TypedDict):
    """Why there is no answer."""

    code: str
    message: str


class ResponseObject(TypedDict):
    """A response: the state of a job, and its answer once it has one."""

    id: str
    object: Literal["response"]
    created_at: float
    status: ResponseState
    background: bool | None
    error: ResponseError | None
    incomplete_details: dict[str, str] | None
    instructions: str | None
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage | OutputCall]
    parallel_tool_calls: bool
    tool_choice: str | dict[str, str]
    tools: list[Any]
    usage: TokenUsage | None
    temperature: NotRequired[float | None]
    top_p: NotRequired[float | None]
    max_output_tokens: NotRequired[int | None]
    text: NotRequired[dict[str, Any]]
    truncation: NotRequired[Literal["disabled"]]
    store: NotRequired[bool]
    service_tier: NotRequired[str]
    previous_response_id: NotRequired[str | None]
    forebay: NotRequired[origin.Origin]


def response_id(job_id: str) -> str:
    """Return the id of a response: the job's, without the tenant."""
    return f"resp_{job_id.partition('.')[2]}"


def job_id_of(given: str, tenant: str) -> str:
    """Return the id of the job that a response stands for.

    Raises:
        NotFound: The text is no id of a response.
    """
    match = _ID.fullmatch(given)
    if not match:
        raise NotFound("is not the id of a response", field="response_id")
    return f"{tenant}.{match[1]}"


def empty(
    job_id: str, model: str, state: ResponseState = "queued", *, created: float | None = None
) -> ResponseObject:
    """Return a response without an answer; `created` is now unless it is given."""
    return {
        "id": response_id(job_id), "object": "response", "created_at": int(created or time.time()),
        "status": state, "background": None, "error": None, "incomplete_details": None,
        "instructions": None, "metadata": {}, "model": model, "output": [],
        "parallel_tool_calls": False, "tool_choice": "none", "tools": [], "usage": None,
    }  # fmt: skip


def answered(base: ResponseObject, answer: Answer, tools: Tools | None = None) -> ResponseObject:
    """Return the response with its answer."""
    text, calls = reply_of(answer.content, tools)
    cut = was_cut(answer.content)
    state: ResponseState = "incomplete" if cut else "completed"
    message = output(
        base["id"], text, "incomplete" if cut else "completed", tokens_of(answer.content) or ()
    )
    return {
        **base, "status": state, "model": answer.model or base["model"],
        "output": [*([message] if text or not calls else []), *output_calls(base["id"], calls)],
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "usage": token_usage(answer.tokens_in, answer.tokens_out, answer.tokens_cached),
        "forebay": origin.origin(answer),
    }  # fmt: skip


def failed(base: ResponseObject, error: ForebayError) -> ResponseObject:
    """Return the response of a job that ended without an answer."""
    fault = fault_of(error)
    why: ResponseError = {"code": fault.code, "message": fault.message}
    state: ResponseState = "cancelled" if fault.code == "cancelled" else "failed"
    return {**base, "status": state, "error": None if state == "cancelled" else why}


def waiting(status: JobStatus, model: str) -> ResponseObject:
    """Return the response of a job in this state."""
    return empty(status.id, model, _STATES[status.state], created=status.created)


def output(
    given: str,
    text: str,
    status: Literal["in_progress", "completed", "incomplete"],
    tokens: Sequence[TokenLogprob] = (),
) -> OutputMessage:
    """Return the answer of a response as a message."""
    part: OutputText = {
        "type": "output_text", "text": text, "annotations": [], "logprobs": scored(tokens),
    }  # fmt: skip
    item_id = f"msg_{given.removeprefix('resp_')}"
    return {
        "id": item_id, "type": "message", "role": "assistant", "status": status, "content": [part],
    }  # fmt: skip


def output_calls(given: str, calls: Sequence[Call]) -> list[OutputCall]:
    """Return the calls of tools that a response makes."""
    return [
        {
            "id": f"fc_{given.removeprefix('resp_')}_{number}", "type": "function_call",
            "call_id": f"call_{given.removeprefix('resp_')}_{number}", "name": call.name,
            "arguments": json.dumps(call.arguments, ensure_ascii=False), "status": "completed",
        }
        for number, call in enumerate(calls)
    ]  # fmt: skip
