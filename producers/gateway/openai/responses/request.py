"""The body of `POST /v1/responses` as OpenAI's clients send it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.asking.tools import MAX_TOOLS, Tools, chosen
from forebay.producers.gateway.errors import InvalidRequest, NotSupported
from forebay.producers.gateway.openai.chat_request import ServiceTier
from forebay.producers.gateway.openai.chat_tools import ToolMode
from forebay.producers.gateway.openai.responses.items import (
    FunctionTool,
    Input,
    InputMessage,
    Item,
    NamedFunction,
    turns,
)
from forebay.producers.gateway.wire import Body, Ignored, Metadata, only

_NO_LIMIT = "an answer ends with its calls; leave it out"
_NO_MEMORY = "send the whole conversation as `input`; leave it out"
_NOT_INCLUDED = "there is nothing else to include; leave it out"
_LOGPROBS = "message.output_text.logprobs"
#: What may be asked for besides the answer. There is no reasoning to encrypt: it adds nothing.
_INCLUDED = (_LOGPROBS, "reasoning.encrypted_content")
#: How long a background response may take, by its `completion_window`.
WINDOWS = {"soonest": None, "2h": timedelta(hours=2), "8h": timedelta(hours=8)}


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

    input: Input
    model: str = Field(min_length=1, max_length=200)
    forebay: Own | None = None
    instructions: str | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: TextConfig | None = None
    metadata: Metadata | None = None
    service_tier: ServiceTier | None = None
    stream: bool | None = None
    tools: list[FunctionTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: ToolMode | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    include: list[Annotated[Any, only(*_INCLUDED, why=_NOT_INCLUDED)]] | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    store: bool | None = None
    stream_options: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    user: Ignored = None
    max_tool_calls: Annotated[Any, only(why=_NO_LIMIT)] = None
    previous_response_id: str | None = None
    conversation: Annotated[Any, only(why=_NO_MEMORY)] = None
    context_management: Annotated[Any, only([], why=_NO_MEMORY)] = None
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

    def usable_tools(self) -> Tools | None:
        """Return the tools that the model may call; `None` if it may call none.

        Raises:
            InvalidRequest: The choice names no tool of the request.
        """
        choice = self.tool_choice
        return chosen(
            [one.tool() for one in self.tools or ()],
            choice if isinstance(choice, str) else None,
            named=choice.name if isinstance(choice, NamedFunction) else None,
            parallel=self.parallel_tool_calls is not False,
            field="tool_choice",
        )

    def wanted_logprobs(self) -> int | None:
        """Return how many tokens to name at each place; `None` if no probabilities are wanted.

        Raises:
            InvalidRequest: There are alternatives without the probabilities themselves.
            NotSupported: The fields exclude each other.
        """
        if _LOGPROBS not in (self.include or ()):
            if self.top_logprobs:
                raise InvalidRequest(f"needs include: [{_LOGPROBS}]", field="top_logprobs")
            return None
        if self.tools:
            raise NotSupported("cannot be combined with tools", field="include")
        return self.top_logprobs or 0

    def chat(self, before: Sequence[Item] = ()) -> Chat:
        """Return what the body says about the chat, which continues a conversation.

        Raises:
            InvalidRequest: The schema of the answer is missing.
        """
        system = [("system", self.instructions)] if self.instructions else []
        return Chat(
            messages=[*system, *turns(self.input, before)],
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            schema=self.form.schema_of_answer(),
            tools=self.usable_tools(),
            logprobs=self.wanted_logprobs(),
            bulk=self.bulk,
            metadata=self.metadata,
            fields={
                "messages": "input", "text": "input", "max_tokens": "max_output_tokens",
                "logprobs": "include",
                "schema": "text.format.schema", "labels": "forebay.labels",
                "max_words": "forebay.max_words", "focus": "forebay.focus",
            },
        )  # fmt: skip

    def form_of_answer(self) -> Tools | None:
        """Return the form of an answer that may call tools; `None` if there are none to call.

        Raises:
            InvalidRequest: The choice names no tool of the request.
        """
        last = self.input[-1]
        begun = isinstance(last, InputMessage) and last.role == "assistant" and last.content
        turn = ("assistant", begun) if begun else ("user", "")
        schema = self.form.schema_of_answer()
        return Chat(messages=[turn], tools=self.usable_tools(), schema=schema).form

    @property
    def form(self) -> TextFormat:
        """What the answer must look like."""
        return (self.text and self.text.format) or TextFormat()

    @property
    def kept(self) -> bool:
        """Whether the response can be fetched later; otherwise it is erased once it was sent."""
        return self.store is not False

    @property
    def bulk(self) -> bool:
        """Whether the caller does not hurry."""
        return self.service_tier == "flex" or self.window is not None

    @property
    def window(self) -> timedelta | None:
        """How long a background response may take, if the caller does not want it soon."""
        return (
            WINDOWS[self.background_options.completion_window] if self.background_options else None
        )

    def check(self) -> None:
        """Raise `NotSupported` if fields exclude each other."""
        if self.background and not self.kept:
            raise NotSupported("must not be false in the background", field="store")
        if self.window and not self.background:
            raise InvalidRequest("needs background", field="background_options")
