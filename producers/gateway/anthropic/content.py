"""The content of a message in Anthropic's format: text, calls of tools and their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from forebay.producers.gateway.asking.tools import (
    Call,
    Tool,
    ToolName,
    check_answered,
    result,
    said,
)
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import AnyPartsText, Body, Ignored, only
from forebay.routing.base import tagged_by

_NO_EXAMPLES = "describe the input in `description`; leave it out"


class TextPart(Body):
    """A text."""

    type: Literal["text"]
    text: str
    cache_control: Ignored = None
    citations: Ignored = None


class ToolUsePart(Body):
    """An earlier call of a tool."""

    type: Literal["tool_use"]
    id: str
    name: ToolName
    input: dict[str, Any]
    cache_control: Ignored = None
    caller: Ignored = None


class ToolResultPart(Body):
    """What a tool returned."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: AnyPartsText | None = None
    is_error: bool | None = None
    cache_control: Ignored = None


class ThoughtPart(Body):
    """What another model thought before an earlier answer; no model here takes it up."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: Ignored = None
    signature: Ignored = None
    data: Ignored = None


Part = Annotated[
    TextPart | ToolUsePart | ToolResultPart | ThoughtPart,
    Field(discriminator="type"),
    tagged_by("type"),
]
_TYPES = frozenset({"text", "tool_use", "tool_result", "thinking", "redacted_thinking"})


def _parts(value: Any) -> Any:
    """Return the content as a list of parts that are known."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    for number, part in enumerate(value if isinstance(value, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in _TYPES:
            words = {"why": f"part {number} is not supported: parts are texts, calls and results"}
            raise PydanticCustomError("not_supported", "{why}", words)
    return value


Parts = Annotated[
    list[Part],
    Field(max_length=200),
    BeforeValidator(_parts, json_schema_input_type=str | list[Part]),
]


class Message(Body):
    """One message of the chat."""

    role: Literal["user", "assistant", "system"]
    content: Parts


def _custom(value: Any) -> Any:
    """Refuse a tool that Anthropic's servers run, before its other fields are missed."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is not None and kind != "custom":
        words = {"why": "is not supported: nothing runs the tools of a server here; leave it out"}
        raise PydanticCustomError("not_supported", "{why}", words)
    return value


class CustomTool(Body):
    """A tool of the caller's."""

    name: ToolName
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    cache_control: Ignored = None
    strict: Ignored = None  # arguments are held to their schema in any case
    input_examples: Annotated[Any, only([], why=_NO_EXAMPLES)] = None
    eager_input_streaming: Ignored = None

    def tool(self) -> Tool:
        """Return the tool."""
        return Tool(self.name, self.description or "", self.input_schema)


OwnTool = Annotated[CustomTool, BeforeValidator(_custom)]


class ToolChoice(Body):
    """Which tools the model may or must call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


def turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return the messages as roles and texts; results of tools come before the user's text.

    Thoughts are left out, and messages in which nobody says a word.

    Raises:
        InvalidRequest: A result belongs to no call before it, or a call has no result.
    """
    names: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        text = "".join(part.text for part in message.content if isinstance(part, TextPart))
        calls = [part for part in message.content if isinstance(part, ToolUsePart)]
        results = [part for part in message.content if isinstance(part, ToolResultPart)]
        names |= {call.id: call.name for call in calls}
        found += [("tool", _result(one, names, number)) for one in results]
        is_last = number == len(messages) - 1
        if calls:
            check_answered(is_last=is_last, field=f"messages.{number}.content")
            text = said(text, [Call(call.name, call.input) for call in calls])
        if text or (message.role == "user" and is_last and not results):
            found.append((message.role, text))
    return found


def _result(part: ToolResultPart, names: dict[str, str], number: int) -> str:
    if part.tool_use_id not in names:
        field = f"messages.{number}.content.tool_use_id"
        raise InvalidRequest("must be the id of a tool_use before it", field=field)
    return result(names[part.tool_use_id], part.content or "", failed=bool(part.is_error))
