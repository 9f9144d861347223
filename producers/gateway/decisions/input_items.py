"""What a decision is about in OpenAI's format: a text, or a conversation with its tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from forebay.producers.gateway.decisions.parts import PartsContent
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import Body, Ignored

MAX_ITEMS = 1_000  # of one conversation


class InputMessage(Body):
    """One message of the conversation."""

    role: Literal["user", "developer", "system", "assistant"]
    content: PartsContent
    type: Literal["message"] = "message"
    phase: Ignored = None

    @property
    def entry(self) -> dict[str, Any]:
        """The message as a part of the state."""
        return {"role": self.role, "content": self.content}


class ToolCall(Body):
    """A call of a tool that the assistant made."""

    type: Literal["function_call", "custom_tool_call"]
    call_id: str
    name: str
    arguments: str | None = None
    input: str | None = None
    id: Ignored = None
    namespace: Ignored = None
    status: Ignored = None

    @property
    def entry(self) -> dict[str, Any]:
        """The call as a part of the state."""
        given = self.arguments if self.type == "function_call" else self.input
        return {"tool_call": self.name, "input": given or ""}


class ToolOutput(Body):
    """What a tool returned."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: PartsContent
    id: Ignored = None
    status: Ignored = None

    @property
    def entry(self) -> dict[str, Any]:
        """The output as a part of the state."""
        return {"tool_output": self.output}


def _tag(item: Any) -> str:
    kind = item.get("type", "message") if isinstance(item, dict) else "message"
    if isinstance(kind, str) and kind.endswith("_output"):
        return "output"
    return "call" if isinstance(kind, str) and kind.endswith("_call") else "message"


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[ToolCall, Tag("call")]
    | Annotated[ToolOutput, Tag("output")],
    Discriminator(_tag),
]


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


#: A text, or the items of a conversation.
Input = Annotated[
    list[InputItem],
    Field(min_length=1, max_length=MAX_ITEMS),
    BeforeValidator(_items, json_schema_input_type=str | list[InputItem]),
]


def state_of(given: Sequence[InputMessage | ToolCall | ToolOutput]) -> Any:
    """Return the state that an input stands for.

    The content of a single message of the user is the state itself; a longer conversation is a list
    of its entries.

    Raises:
        InvalidRequest: The output of a tool belongs to no call before it.
    """
    calls: set[str] = set()
    for number, item in enumerate(given):
        if isinstance(item, ToolCall):
            calls.add(item.call_id)
        elif isinstance(item, ToolOutput) and item.call_id not in calls:
            words = "must be the call_id of a tool call before it"
            raise InvalidRequest(words, field=f"input.{number}.call_id")
    first = given[0]
    if len(given) == 1 and isinstance(first, InputMessage) and first.role == "user":
        return first.content
    return [item.entry for item in given]
