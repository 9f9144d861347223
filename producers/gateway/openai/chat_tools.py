"""The tools of a chat completion, and their calls, as OpenAI's clients send them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from forebay.producers.gateway.asking.tools import Call, Tool, ToolName, arguments_of
from forebay.producers.gateway.wire import Body, Ignored

ToolMode = Literal["none", "auto", "required"]


class Typed(Body):
    """The field that tells a function from tools of other types. It is checked first."""

    type: Literal["function"]


class Function(Body):
    """What a tool of the caller's does, and the schema of its arguments."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Ignored = None  # arguments are held to their schema in any case

    def tool(self) -> Tool:
        """Return the tool."""
        return Tool.of(self.name, self.description, self.parameters)


class FunctionTool(Typed):
    """A tool of the caller's."""

    function: Function


class FunctionName(Body):
    """The name of a tool."""

    name: str


class NamedFunction(Typed):
    """The only tool that the model may call, and must."""

    function: FunctionName


class CalledFunction(Body):
    """A tool that was called, and its arguments as JSON."""

    name: ToolName
    arguments: str = Field(default="{}")


class ToolCall(Body):
    """An earlier call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Ignored = None

    def call(self, field: str) -> Call:
        """Return the call.

        Raises:
            InvalidRequest: The arguments are no JSON object.
        """
        arguments = arguments_of(self.function.arguments, f"{field}.function.arguments")
        return Call(self.function.name, arguments)
