"""A chat completion, as OpenAI's clients read it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.chats import text_of, was_cut
from forebay.routing.jobs import Answer


class PromptTokens(TypedDict):
    """Details of the tokens of a prompt."""

    cached_tokens: int


class Usage(TypedDict):
    """The tokens of a completion; of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


class AssistantMessage(TypedDict):
    """The answer as a message."""

    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(TypedDict):
    """One of the answers."""

    index: int
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None
    forebay: origin.Origin


class ChatCompletion(TypedDict):
    """The response of `POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    service_tier: str
    choices: list[Choice]
    usage: Usage
    forebay: origin.Origin


def completion(answers: Sequence[Answer], tier: str) -> ChatCompletion:
    """Return the response of a chat that was answered."""
    first = answers[0]
    return {
        "id": completion_id(first.id),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": first.model or "",
        "system_fingerprint": first.revision,
        "service_tier": tier,
        "choices": [_choice(number, answer) for number, answer in enumerate(answers)],
        "usage": usage(answers),
        "forebay": origin.origin(first),
    }


def completion_id(job_id: str) -> str:
    """Return the completion's id: the job's, without the tenant."""
    return f"chatcmpl-{job_id.partition('.')[2]}"


def usage(answers: Sequence[Answer]) -> Usage:
    """Return the tokens of all answers together."""
    tokens_in = sum(answer.tokens_in for answer in answers)
    tokens_out = sum(answer.tokens_out for answer in answers)
    cached = sum(answer.tokens_in for answer in answers if answer.cached)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _choice(number: int, answer: Answer) -> Choice:
    return {
        "index": number,
        "message": {"role": "assistant", "content": text_of(answer.content), "refusal": None},
        "finish_reason": "length" if was_cut(answer.content) else "stop",
        "logprobs": None,
        "forebay": origin.origin(answer),
    }
