"""What a response was asked, as the response and the items of its input say it again."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.openai.responses.items import (
    InputCall,
    InputOutput,
    InputReasoning,
    Item,
    NamedFunction,
)
from forebay.producers.gateway.openai.responses.reply import ResponseObject, response_id
from forebay.producers.gateway.openai.responses.request import ResponsesRequest


class InputItem(TypedDict):
    """An item of a response's input: a message, a call of a tool, its output, or a thought."""

    id: str
    type: Literal["message", "function_call", "function_call_output", "reasoning"]
    status: Literal["completed"]
    role: NotRequired[Literal["system", "developer", "user", "assistant"]]
    content: NotRequired[list[dict[str, Any]]]
    call_id: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]
    output: NotRequired[str]
    summary: NotRequired[list[Any]]


def with_asked(response: ResponseObject, body: ResponsesRequest | None) -> ResponseObject:
    """Return the response with what its caller said of it."""
    if body is None:
        return response
    return {
        **response, "background": bool(body.background), "instructions": body.instructions,
        "metadata": body.metadata or {}, "tool_choice": _choice(body),
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "parallel_tool_calls": body.parallel_tool_calls is not False and bool(body.tools),
        "temperature": body.temperature, "top_p": body.top_p,
        "max_output_tokens": body.max_output_tokens, "store": body.kept,
        "text": {"format": body.form.model_dump(by_alias=True, exclude_none=True)},
        "truncation": "disabled", "previous_response_id": body.previous_response_id,
        "service_tier": "flex" if body.bulk else "default",
    }  # fmt: skip


def _choice(body: ResponsesRequest) -> str | dict[str, str]:
    """Return which tools the model was to call."""
    if isinstance(body.tool_choice, NamedFunction):
        return body.tool_choice.model_dump()
    return body.tool_choice or ("auto" if body.tools else "none")


def input_items(job_id: str, body: ResponsesRequest) -> list[InputItem]:
    """Return the items of a response's input, in their order; each keeps its id."""
    given = response_id(job_id).removeprefix("resp_")
    return [_item(f"{given}_in{number}", item) for number, item in enumerate(body.input)]


def _item(given: str, item: Item) -> InputItem:
    if isinstance(item, InputReasoning):
        return {"id": f"rs_{given}", "type": item.type, "status": "completed", "summary": []}
    if isinstance(item, InputCall):
        return {
            "id": f"fc_{given}", "type": item.type, "status": "completed",
            "call_id": item.call_id, "name": item.name, "arguments": item.arguments,
        }  # fmt: skip
    if isinstance(item, InputOutput):
        return {
            "id": f"fco_{given}", "type": item.type, "status": "completed",
            "call_id": item.call_id, "output": item.output,
        }  # fmt: skip
    part: dict[str, Any] = {"type": "input_text", "text": item.content}
    if item.role == "assistant":
        part = {"type": "output_text", "text": item.content, "annotations": []}
    return {
        "id": f"msg_{given}", "type": "message", "role": item.role, "status": "completed",
        "content": [part],
    }  # fmt: skip
