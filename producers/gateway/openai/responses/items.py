"""The items of a response's input: messages, calls of tools and their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from forebay.producers.gateway.asking.tools import (
    Call,
    ToolName,
    arguments_of,
    check_answered,
    result,
    said,
)
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.openai.chat_tools import Function, FunctionName, Typed
from forebay.producers.gateway.wire import AnyPartsText, Body, Ignored

MAX_ITEMS = 200
_TYPES = frozenset({"message", "function_call", "function_call_output", "reasoning"})


class InputMessage(Body):
    """One message of the input: a message of the caller's, or an earlier output."""

    role: Literal["system", "developer", "user", "assistant"]
    content: AnyPartsText
    type: Literal["message"] = "message"
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None


class InputCall(Body):
    """An earlier call of a tool."""

    type: Literal["function_call"]
    call_id: str
    name: ToolName
    arguments: str
    id: Ignored = None
    status: Ignored = None


class InputOutput(Body):
    """What a tool returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: AnyPartsText
    id: Ignored = None
    status: Ignored = None


class InputReasoning(Body):
    """What another model thought before an earlier output; no model here takes it up."""

    type: Literal["reasoning"]
    id: Ignored = None
    summary: Ignored = None
    content: Ignored = None
    encrypted_content: Ignored = None
    status: Ignored = None


class FunctionTool(Function, Typed):
    """A tool of the caller's."""


class NamedFunction(FunctionName, Typed):
    """The only tool that the model may call, and must."""


def _items(value: Any) -> Any:
    """Return the input as a list of items that are known."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    for number, item in enumerate(value if isinstance(value, list) else ()):
        if _type(item) not in _TYPES:
            why = "every item must be a message, a function_call or its output"
            words = {"why": f"item {number} is not supported: {why}"}
            raise PydanticCustomError("not_supported", "{why}", words)
    return value


def _type(item: Any) -> str:
    kind = item.get("type", "message") if isinstance(item, dict) else "message"
    return kind if isinstance(kind, str) else ""


Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputOutput, Tag("function_call_output")]
    | Annotated[InputReasoning, Tag("reasoning")],
    Discriminator(_type),
]
Input = Annotated[
    list[Item],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(_items, json_schema_input_type=str | list[Item]),
]


def turns(items: Sequence[Item], before: Sequence[Item] = ()) -> list[tuple[str, str]]:
    """Return each item as its role and its text; calls in a row are one turn.

    Thoughts are left out, and messages in which nobody says a word.

    Args:
        items: the input.
        before: the conversation that it continues.

    Raises:
        InvalidRequest: An output belongs to no call before it, arguments are no object, or
            the last call has no output.
    """
    names: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    calls: list[Call] = []
    for number, item in enumerate([*before, *items], -len(before)):
        if isinstance(item, InputCall):
            names[item.call_id] = item.name
            given = arguments_of(item.arguments, f"input.{number}.arguments")
            calls.append(Call(item.name, given))
            check_answered(is_last=number == len(items) - 1, field=f"input.{number}")
            continue
        if isinstance(item, InputReasoning):
            continue
        if calls:
            found.append(("assistant", said("", calls)))
            calls = []
        role, text = _turn(item, names, number)
        if text or (role == "user" and number == len(items) - 1):
            found.append((role, text))
    return found


def _turn(item: InputMessage | InputOutput, names: dict[str, str], number: int) -> tuple[str, str]:
    if isinstance(item, InputMessage):
        return "system" if item.role == "developer" else item.role, item.content
    if item.call_id not in names:
        words = "must be the call_id of a call before it"
        raise InvalidRequest(words, field=f"input.{number}.call_id")
    return "tool", result(names[item.call_id], item.output)
