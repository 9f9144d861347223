"""A stored chat completion and its messages, as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.openai.completions.stored import StoredChat
from forebay.producers.gateway.openai.replies import ChatCompletion, completion, completion_id
from forebay.routing.jobs import Answer


class StoredCompletion(ChatCompletion):
    """A chat completion, and what it was asked besides the messages."""

    metadata: Mapping[str, str]
    temperature: float | None
    top_p: float | None
    seed: int | None
    presence_penalty: float
    frequency_penalty: float
    tools: list[Any] | None
    tool_choice: Any
    response_format: Any
    input_user: str | None


class StoredMessage(TypedDict):
    """A message that a stored completion was asked; parts of its content are kept as they came."""

    id: str
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None
    content_parts: list[Any] | None
    name: str | None
    refusal: NotRequired[str]
    tool_calls: NotRequired[list[Any]]
    tool_call_id: NotRequired[str]


def stored_completion(chat: StoredChat, answers: Sequence[Answer]) -> StoredCompletion:
    """Return a stored completion with its answers."""
    body, sent = chat.body, chat.sent
    tier = "flex" if body.service_tier == "flex" else "default"
    user = body.user if isinstance(body.user, str) else None
    made = completion(answers, tier, body.chat().form, created=chat.created)
    return {
        **made, "metadata": body.metadata or {}, "temperature": body.temperature,
        "top_p": body.top_p, "seed": body.seed, "presence_penalty": 0, "frequency_penalty": 0,
        "tools": sent.get("tools"), "tool_choice": sent.get("tool_choice"),
        "response_format": sent.get("response_format"), "input_user": user,
    }  # fmt: skip


def stored_messages(chat: StoredChat) -> list[StoredMessage]:
    """Return the messages that a completion was asked, in their order; each keeps its id."""
    given = completion_id(chat.job_ids[0])
    return [
        _message(f"{given}-{number}", sent, read.content)
        for number, (sent, read) in enumerate(
            zip(chat.sent["messages"], chat.body.messages, strict=True)
        )
    ]


def _message(given: str, sent: Mapping[str, Any], text: str | None) -> StoredMessage:
    parts = sent.get("content")
    name = sent.get("name")
    message: StoredMessage = {
        "id": given, "role": sent["role"], "content": text,
        "content_parts": parts if isinstance(parts, list) else None,
        "name": name if isinstance(name, str) else None,
    }  # fmt: skip
    for key in ("refusal", "tool_calls", "tool_call_id"):
        if sent.get(key) is not None:
            message[key] = sent[key]
    return message
