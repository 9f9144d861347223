"""A message, as Anthropic's clients read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.chats import reply_of, was_cut
from forebay.producers.gateway.asking.tools import Call, Tools
from forebay.routing.jobs import Answer, Content, Generation

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class Ending(TypedDict):
    """Why the text ended, and the stop sequence that ended it."""

    stop_reason: StopReason | None
    stop_sequence: str | None


class TextBlock(TypedDict):
    """The text of a message."""

    type: Literal["text"]
    text: str


class ToolUseBlock(TypedDict):
    """A call of a tool that the caller is to make."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessageUsage(TypedDict):
    """The tokens of a message."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class MessageObject(Ending):
    """The answer to a chat."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ToolUseBlock]
    usage: MessageUsage
    forebay: NotRequired[origin.Origin]


def empty(job_id: str, model: str) -> MessageObject:
    """Return a message without its text, as a stream begins."""
    nothing: MessageUsage = {
        "input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }  # fmt: skip
    return {
        "id": f"msg_{job_id.partition('.')[2]}", "type": "message", "role": "assistant",
        "model": model, "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": nothing,
    }  # fmt: skip


def message(answer: Answer, tools: Tools | None = None) -> MessageObject:
    """Return the message of a chat that was answered."""
    text, calls = reply_of(answer.content, tools)
    return {
        **empty(answer.id, answer.model or ""),
        "content": [*text_of_reply(text, calls), *tool_uses(answer.id, calls)],
        **ending(answer.content, calls),
        "usage": usage(answer),
        "forebay": origin.origin(answer),
    }


def text_of_reply(text: str, calls: Sequence[Call]) -> list[TextBlock]:
    """Return the text of an answer as a block; none if the answer is calls alone."""
    return [{"type": "text", "text": text}] if text or not calls else []


def tool_uses(job_id: str, calls: Sequence[Call]) -> list[ToolUseBlock]:
    """Return the calls of tools that an answer makes; their ids come from that of its job."""
    return [
        {
            "type": "tool_use", "id": f"toolu_{job_id.partition('.')[2]}_{number}",
            "name": call.name, "input": call.arguments,
        }
        for number, call in enumerate(calls)
    ]  # fmt: skip


def ending(content: Content, calls: Sequence[Call] = ()) -> Ending:
    """Return why the text ended, and the stop sequence that ended it if the engine says so."""
    if calls:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    stop = content.stop_sequence if isinstance(content, Generation) else None
    if stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    reason: StopReason = "max_tokens" if was_cut(content) else "end_turn"
    return {"stop_reason": reason, "stop_sequence": None}


def usage(answer: Answer) -> MessageUsage:
    """Return the tokens of an answer."""
    return {
        "input_tokens": answer.tokens_in - answer.tokens_cached,
        "output_tokens": answer.tokens_out,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.tokens_cached,
    }
