"""The body of `POST /v1/messages` as Anthropic's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from forebay.producers.gateway.anthropic.content import Message, OwnTool, ToolChoice, turns
from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.asking.tools import MAX_TOOLS, Tools, chosen
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import Body, Ignored, PartsText, only

_NO_PLACE = "the operator says where content may go, and `forebay.egress` if it may leave at all"
_NOT_HERE = "there is no such thing here; leave it out"


class JsonFormat(Body):
    """The schema of an answer that must be JSON."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Body):
    """The form of the answer."""

    format: JsonFormat | None = None
    effort: Annotated[Any, only(why="a model works as it was made to; leave it out")] = None


class Metadata(Body):
    """Who the end user is; nobody here asks."""

    user_id: Ignored = None


class MessagesRequest(Body):
    """The body of `POST /v1/messages`."""

    messages: list[Message] = Field(min_length=1, max_length=200)
    model: str = Field(min_length=1, max_length=200)
    max_tokens: int
    forebay: Own | None = None
    system: PartsText | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    output_config: OutputConfig | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    service_tier: Ignored = None
    cache_control: Ignored = None
    inference_geo: Annotated[Any, only("global", why=_NO_PLACE)] = None
    user_profile_id: Ignored = None
    workspace_id: Ignored = None
    top_k: Annotated[Any, only(why="engines sample by top_p alone; leave it out")] = None
    tools: list[OwnTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    thinking: Annotated[
        Any, only({"type": "disabled"}, why="a model thinks as it was made to; leave it out")
    ] = None
    container: Annotated[Any, only(why=_NOT_HERE)] = None
    diagnostics: Annotated[Any, only(why=_NOT_HERE)] = None
    speed: Annotated[Any, only("standard", why=_NOT_HERE)] = None

    def usable_tools(self) -> Tools | None:
        """Return the tools that the model may call; `None` if it may call none.

        Raises:
            InvalidRequest: The choice names no tool of the request.
        """
        choice = self.tool_choice or ToolChoice(type="auto")
        if choice.type == "tool" and choice.name is None:
            raise InvalidRequest("is missing, add it", field="tool_choice.name")
        return chosen(
            [one.tool() for one in self.tools or ()],
            {"any": "required"}.get(choice.type, choice.type),
            named=choice.name if choice.type == "tool" else None,
            parallel=not choice.disable_parallel_tool_use,
            field="tool_choice",
        )

    def chat(self) -> Chat:
        """Return what the body says about the chat.

        Raises:
            InvalidRequest: The choice names no tool, or a result belongs to no call.
        """
        system = [("system", self.system)] if self.system else []
        form = self.output_config.format if self.output_config else None
        return Chat(
            messages=[*system, *turns(self.messages)],
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(self.stop_sequences or ()),
            schema=form.schema_ if form else None,
            tools=self.usable_tools(),
            fields={
                "text": "messages", "stop": "stop_sequences",
                "schema": "output_config.format.schema", "labels": "forebay.labels",
                "max_words": "forebay.max_words", "focus": "forebay.focus",
            },
        )  # fmt: skip


class CountRequest(MessagesRequest):
    """The body of `POST /v1/messages/count_tokens`: a request that is not answered."""

    max_tokens: int = 1
