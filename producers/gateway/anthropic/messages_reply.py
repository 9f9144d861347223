"""A message, as Anthropic's clients read it."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.chats import text_of, was_cut
from forebay.routing.jobs import Answer, Content

StopReason = Literal["end_turn", "max_tokens"]


class TextBlock(TypedDict):
    """The text of a message."""

    type: Literal["text"]
    text: str


class MessageUsage(TypedDict):
    """The tokens of a message."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class MessageObject(TypedDict):
    """The answer to a chat."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock]
    stop_reason: StopReason | None
    stop_sequence: None
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


def message(answer: Answer) -> MessageObject:
    """Return the message of a chat that was answered."""
    return {
        **empty(answer.id, answer.model or ""),
        "content": [{"type": "text", "text": text_of(answer.content)}],
        "stop_reason": stop_reason(answer.content),
        "usage": usage(answer),
        "forebay": origin.origin(answer),
    }


def stop_reason(content: Content) -> StopReason:
    """Return why the text ended. Whether a stop sequence ended it, no engine tells."""
    return "max_tokens" if was_cut(content) else "end_turn"


def usage(answer: Answer) -> MessageUsage:
    """Return the tokens of an answer."""
    read = answer.tokens_in if answer.cached else 0
    return {
        "input_tokens": answer.tokens_in - read,
        "output_tokens": answer.tokens_out,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": read,
    }
