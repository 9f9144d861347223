"""The body of `POST /v1/messages` as Anthropic's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.wire import Body, Ignored, PartsText, only

_NO_TOOLS = "the models here call no tools; leave it out"
_NOT_HERE = "there is no such thing here; leave it out"


class Message(Body):
    """One message of the chat."""

    role: Literal["user", "assistant", "system"]
    content: PartsText


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
    inference_geo: Ignored = None
    user_profile_id: Ignored = None
    workspace_id: Ignored = None
    top_k: Annotated[Any, only(why="engines sample by top_p alone; leave it out")] = None
    tools: Annotated[Any, only([], why=_NO_TOOLS)] = None
    tool_choice: Annotated[Any, only({"type": "none"}, why=_NO_TOOLS)] = None
    thinking: Annotated[
        Any, only({"type": "disabled"}, why="a model thinks as it was made to; leave it out")
    ] = None
    container: Annotated[Any, only(why=_NOT_HERE)] = None
    diagnostics: Annotated[Any, only(why=_NOT_HERE)] = None
    speed: Annotated[Any, only("standard", why=_NOT_HERE)] = None

    def chat(self) -> Chat:
        """Return what the body says about the chat."""
        system = [("system", self.system)] if self.system else []
        form = self.output_config.format if self.output_config else None
        return Chat(
            messages=[*system, *((message.role, message.content) for message in self.messages)],
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(self.stop_sequences or ()),
            schema=form.schema_ if form else None,
            fields={
                "text": "messages", "stop": "stop_sequences",
                "schema": "output_config.format.schema", "labels": "forebay.labels",
                "max_words": "forebay.max_words", "focus": "forebay.focus",
            },
        )  # fmt: skip
