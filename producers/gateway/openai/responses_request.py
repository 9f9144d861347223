"""The body of `POST /v1/responses` as OpenAI's clients send it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.errors import InvalidRequest, NotSupported
from forebay.producers.gateway.openai.chat_request import ServiceTier
from forebay.producers.gateway.wire import Body, Ignored, PartsText, only

_NO_TOOLS = "the models here call no tools; leave it out"
_NO_MEMORY = "send the whole conversation as `input`; leave it out"
_NO_LOGPROBS = "engines do not return the probabilities of tokens; leave it out"
#: How long a background response may take, by its `completion_window`.
WINDOWS = {"soonest": None, "2h": timedelta(hours=2), "8h": timedelta(hours=8)}


class InputMessage(Body):
    """One message of the input: a message of the caller's, or an earlier output."""

    role: Literal["system", "developer", "user", "assistant"]
    content: PartsText
    type: Literal["message"] = "message"
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None

    @property
    def turn(self) -> tuple[str, str]:
        """The role as a job names it, and the text."""
        return "system" if self.role == "developer" else self.role, self.content


def _items(value: Any) -> Any:
    """Return the input as a list of messages."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    for number, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict) and item.get("type", "message") != "message":
            words = {"why": f"item {number} is not supported: every item must be a message"}
            raise PydanticCustomError("not_supported", "{why}", words)
    return value


_INPUT_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "maxItems": 200, "items": {"type": "object"}},
    ]
}


class TextFormat(Body):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the answer, if it must be JSON.

        Raises:
            InvalidRequest: The schema is missing.
        """
        if self.type == "json_schema" and self.schema_ is None:
            raise InvalidRequest("is missing, add it", field="text.format.schema")
        return {"type": "object"} if self.type == "json_object" else self.schema_


class TextConfig(Body):
    """The form of the answer."""

    format: TextFormat | None = None
    verbosity: Annotated[Any, only("medium", why="say it in `instructions`; leave it out")] = None


class BackgroundOptions(Body):
    """How a background response is run."""

    completion_window: Literal["soonest", "2h", "8h"] = "soonest"
    continuation_id: Ignored = None


class ResponsesRequest(Body):
    """The body of `POST /v1/responses`."""

    input: Annotated[
        list[InputMessage],
        Field(min_length=1, max_length=200),
        BeforeValidator(_items),
        WithJsonSchema(_INPUT_SCHEMA),
    ]
    model: str = Field(min_length=1, max_length=200)
    forebay: Own | None = None
    instructions: str | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: TextConfig | None = None
    metadata: dict[str, str] | None = None
    service_tier: ServiceTier | None = None
    stream: bool | None = None

    store: Annotated[Any, only(True, why="every answer is kept for a while")] = None
    stream_options: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    user: Ignored = None
    tools: Annotated[Any, only([], why=_NO_TOOLS)] = None
    tool_choice: Annotated[Any, only("none", "auto", why=_NO_TOOLS)] = None
    max_tool_calls: Annotated[Any, only(why=_NO_TOOLS)] = None
    previous_response_id: Annotated[Any, only(why=_NO_MEMORY)] = None
    conversation: Annotated[Any, only(why=_NO_MEMORY)] = None
    context_management: Annotated[Any, only([], why=_NO_MEMORY)] = None
    include: Annotated[Any, only([], why="there is nothing else to include; leave it out")] = None
    top_logprobs: Annotated[Any, only(0, why=_NO_LOGPROBS)] = None
    prompt: Annotated[Any, only(why="no prompts are stored here; leave it out")] = None
    moderation: Annotated[Any, only(why="nothing is moderated here; leave it out")] = None
    image: Annotated[Any, only(why="an answer is text; leave it out")] = None
    access_programs: Annotated[Any, only(why="there are none here; leave it out")] = None
    reasoning: Annotated[
        Any, only({}, {"effort": "none"}, why="a model reasons as it was made to; leave it out")
    ] = None
    truncation: Annotated[
        Any, only("disabled", why="an input that is too long is refused; leave it out")
    ] = None

    def chat(self) -> Chat:
        """Return what the body says about the chat.

        Raises:
            InvalidRequest: The schema of the answer is missing.
        """
        system = [("system", self.instructions)] if self.instructions else []
        form = self.text.format if self.text else None
        return Chat(
            messages=[*system, *(message.turn for message in self.input)],
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            schema=form.schema_of_answer() if form else None,
            bulk=self.service_tier == "flex" or self.window is not None,
            metadata=self.metadata,
            fields={
                "messages": "input", "text": "input", "max_tokens": "max_output_tokens",
                "schema": "text.format.schema", "labels": "forebay.labels",
                "max_words": "forebay.max_words", "focus": "forebay.focus",
            },
        )  # fmt: skip

    @property
    def window(self) -> timedelta | None:
        """How long a background response may take, if the caller does not want it soon."""
        return (
            WINDOWS[self.background_options.completion_window] if self.background_options else None
        )

    def check(self) -> None:
        """Raise `NotSupported` if fields exclude each other."""
        if self.background and self.stream:
            raise NotSupported("cannot be combined with background", field="stream")
        if self.window and not self.background:
            raise InvalidRequest("needs background", field="background_options")
