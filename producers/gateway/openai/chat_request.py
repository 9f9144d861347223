"""The body of a chat completion as OpenAI's clients send it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.asking.tools import (
    MAX_TOOLS,
    Tools,
    check_answered,
    chosen,
    result,
    said,
)
from forebay.producers.gateway.errors import InvalidRequest, NotSupported
from forebay.producers.gateway.openai.chat_tools import (
    FunctionTool,
    NamedFunction,
    ToolCall,
    ToolMode,
)
from forebay.producers.gateway.wire import AnyPartsText, Body, Ignored, Metadata, only

MAX_CHOICES = 8  # each is a job of its own
_NAME = r"^[^\s<|\\/>]{1,64}$"  # of who speaks, as OpenAI takes it
_NO_FUNCTIONS = "functions are called by `tools`; leave it out"
_NO_PENALTY = "engines do not penalize tokens; leave it out"
_TEXT_ONLY = "an answer is text; leave it out"


class Message(Body):
    """One message of the chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: AnyPartsText | None = None
    name: Annotated[str, StringConstraints(pattern=_NAME)] | None = None
    prefix: Ignored = (
        None  # clients of other services mark so a last message that is to be continued
    )
    refusal: str | None = None
    annotations: Ignored = None
    audio: Annotated[Any, only(why=_TEXT_ONLY)] = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Annotated[Any, only(why=_NO_FUNCTIONS)] = None


class SchemaFormat(Body):
    """The schema of an answer."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the answer, if it must be JSON.

        Raises:
            InvalidRequest: The schema is missing.
        """
        if self.type == "json_object":
            return {"type": "object"}
        if self.type == "text":
            return None
        if self.json_schema is None:
            raise InvalidRequest("is missing, add it", field="response_format.json_schema")
        return self.json_schema.schema_


class StreamOptions(Body):
    """What a stream says besides the text."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


def turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return each message as its role and its text, without those in which nobody says a word.

    The name of who speaks stands before the text, as `name: text`: hardly a template has another
    place for it.

    Raises:
        InvalidRequest: A message has no content, the result of a tool no call, or a call no result.
    """
    names: dict[str, str] = {}
    found = []
    speakers = _speakers(messages)
    for number, message in enumerate(messages):
        field = f"messages.{number}"
        if message.role == "tool":
            found.append(("tool", _result(message, names, field)))
        elif message.role == "assistant" and message.tool_calls:
            check_answered(is_last=number == len(messages) - 1, field=f"{field}.tool_calls")
            names |= {call.id: call.function.name for call in message.tool_calls}
            calls = [
                call.call(f"{field}.tool_calls.{i}") for i, call in enumerate(message.tool_calls)
            ]
            found.append(("assistant", said(message.content or "", calls)))
        else:
            role = "system" if message.role == "developer" else message.role
            text = _text(message, field)
            if text and (speaker := speakers[number]):
                text = f"{speaker}: {text}"
            if text or (role == "user" and number == len(messages) - 1):
                found.append((role, text))
    return found


def _speakers(messages: Sequence[Message]) -> list[str | None]:
    """Return the name to tell with each message.

    The name of the only assistant is not told, since a model would begin its answers with it; nor
    is that of a last message that the answer continues.
    """
    assistants = {one.name for one in messages if one.role == "assistant"} - {None}
    told = [
        one.name if one.role != "assistant" or len(assistants) > 1 else None for one in messages
    ]
    return [*told[:-1], None] if messages[-1].role == "assistant" else told


def _text(message: Message, field: str) -> str:
    """Return the text of a message; the assistant may have refused instead."""
    if message.refusal is not None and message.role != "assistant":
        raise InvalidRequest("is for messages of the assistant", field=f"{field}.refusal")
    text = message.refusal if message.content is None else message.content
    if text is None:
        raise InvalidRequest("is missing, add it", field=f"{field}.content")
    return text


def _result(message: Message, names: Mapping[str, str], field: str) -> str:
    name = names.get(message.tool_call_id or "")
    if name is None:
        raise InvalidRequest("must be the id of a call before it", field=f"{field}.tool_call_id")
    return result(name, message.content or "")


def _stops(value: Any) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(stops):
        raise PydanticCustomError("empty_stop", "must not hold an empty text")
    return stops


ServiceTier = Literal["auto", "default", "flex", "priority", "scale", "fast"]


class ChatRequest(Body):
    """The body of `POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=200)
    model: str = Field(min_length=1, max_length=200)
    forebay: Own | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    seed: int | None = None
    stop: Annotated[str | list[str] | None, AfterValidator(_stops)] = None
    temperature: float | None = None
    top_p: float | None = None
    response_format: ResponseFormat | None = None
    metadata: Metadata | None = None
    service_tier: ServiceTier | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    tools: list[FunctionTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolMode | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[Any, only([], why=_NO_FUNCTIONS)] = None
    function_call: Annotated[Any, only("none", "auto", why=_NO_FUNCTIONS)] = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logit_bias: Annotated[
        Any, only({}, why="engines do not change single tokens; leave it out")
    ] = None
    frequency_penalty: Annotated[Any, only(0, why=_NO_PENALTY)] = None
    presence_penalty: Annotated[Any, only(0, why=_NO_PENALTY)] = None
    modalities: Annotated[Any, only(["text"], why=_TEXT_ONLY)] = None
    audio: Annotated[Any, only(why=_TEXT_ONLY)] = None
    prediction: Ignored = None  # a hint that changes no answer
    moderation: Annotated[Any, only(why="nothing is moderated here; leave it out")] = None
    web_search_options: Annotated[Any, only(why="nothing is searched here; leave it out")] = None
    store: bool | None = None
    reasoning_effort: Annotated[
        Any, only("none", why="models reason here as they are; leave it out")
    ] = None
    verbosity: Annotated[Any, only("medium", why="say it in the messages; leave it out")] = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    user: Ignored = None

    def usable_tools(self) -> Tools | None:
        """Return the tools that the model may call; `None` if it may call none.

        Raises:
            InvalidRequest: The choice names no tool of the request.
        """
        choice = self.tool_choice
        return chosen(
            [one.function.tool() for one in self.tools or ()],
            choice if isinstance(choice, str) else None,
            named=choice.function.name if isinstance(choice, NamedFunction) else None,
            parallel=self.parallel_tool_calls is not False,
            field="tool_choice",
        )

    def wanted_logprobs(self) -> int | None:
        """Return how many tokens to name at each place; `None` if no probabilities are wanted.

        Raises:
            InvalidRequest: There are alternatives without logprobs.
            NotSupported: The fields exclude each other.
        """
        if not self.logprobs:
            if self.top_logprobs:
                raise InvalidRequest("needs logprobs", field="top_logprobs")
            return None
        if self.tools:
            raise NotSupported("cannot be combined with tools", field="logprobs")
        return self.top_logprobs or 0

    def chat(self) -> Chat:
        """Return what the body says about the chat.

        Raises:
            InvalidRequest: A schema, a text or a tool is missing, or a field needs another one.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("needs stream", field="stream_options")
        newer = self.max_completion_tokens is not None
        return Chat(
            messages=turns(self.messages),
            max_tokens=self.max_completion_tokens if newer else self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(self.stop or ()),
            seed=self.seed,
            schema=self.response_format.schema_of_answer() if self.response_format else None,
            tools=self.usable_tools(),
            logprobs=self.wanted_logprobs(),
            bulk=self.service_tier == "flex",
            metadata=self.metadata,
            fields={
                "max_tokens": "max_completion_tokens" if newer else "max_tokens",
                "schema": "response_format.json_schema.schema",
                "text": "messages",
                "labels": "forebay.labels",
                "max_words": "forebay.max_words",
                "focus": "forebay.focus",
            },
        )
