"""A chat completion, as OpenAI's clients read it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.chats import reply_of, tokens_of, was_cut
from forebay.producers.gateway.asking.tools import Call, Tools
from forebay.routing.jobs import Answer, Content
from forebay.routing.receipts import TokenLogprob

Finish = Literal["stop", "length", "tool_calls"]


class PromptTokens(TypedDict):
    """Details of the tokens of a prompt."""

    cached_tokens: int


class Usage(TypedDict):
    """The tokens of a completion; of all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


class FunctionCall(TypedDict):
    """A tool, and its arguments as JSON."""

    name: str
    arguments: str


class MadeCall(TypedDict):
    """A call of a tool that the caller is to make."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(TypedDict):
    """The answer as a message: a text, or calls of tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[MadeCall]]


class TopLogprob(TypedDict):
    """A token that was among the most probable at its place."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenLogprob(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class Logprobs(TypedDict):
    """The probabilities of the tokens of an answer."""

    content: list[ChosenLogprob]
    refusal: None


class Choice(TypedDict):
    """One of the answers."""

    index: int
    message: AssistantMessage
    finish_reason: Finish
    logprobs: Logprobs | None
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


def completion(
    answers: Sequence[Answer], tier: str, tools: Tools | None = None, *, created: int | None = None
) -> ChatCompletion:
    """Return the response of a chat that was answered; `created` is now unless it is given."""
    first = answers[0]
    return {
        "id": completion_id(first.id),
        "object": "chat.completion",
        "created": int(time.time()) if created is None else created,
        "model": first.model or "",
        "system_fingerprint": first.revision,
        "service_tier": tier,
        "choices": [_choice(number, answer, tools) for number, answer in enumerate(answers)],
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
    cached = sum(answer.tokens_cached for answer in answers)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def made_calls(job_id: str, calls: Sequence[Call]) -> list[MadeCall]:
    """Return the calls of tools that an answer makes; their ids come from that of its job."""
    return [
        {
            "id": call_id(job_id, number), "type": "function",
            "function": {
                "name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for number, call in enumerate(calls)
    ]  # fmt: skip


def call_id(job_id: str, number: int) -> str:
    """Return the id of a call of a tool."""
    return f"call_{job_id.partition('.')[2]}_{number}"


def finish_reason(content: Content, calls: Sequence[Call]) -> Finish:
    """Return why the answer ends."""
    if calls:
        return "tool_calls"
    return "length" if was_cut(content) else "stop"


def _choice(number: int, answer: Answer, tools: Tools | None) -> Choice:
    text, calls = reply_of(answer.content, tools)
    tokens = tokens_of(answer.content)
    message: AssistantMessage = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message["content"], message["tool_calls"] = text or None, made_calls(answer.id, calls)
    return {
        "index": number, "message": message,
        "finish_reason": finish_reason(answer.content, calls),
        "logprobs": None if tokens is None else logprobs(tokens),
        "forebay": origin.origin(answer),
    }  # fmt: skip


def logprobs(tokens: Sequence[TokenLogprob]) -> Logprobs:
    """Return tokens of an answer and how probable they were."""
    return {"content": scored(tokens), "refusal": None}


def scored(tokens: Sequence[TokenLogprob]) -> list[ChosenLogprob]:
    """Return each token, and the most probable ones at its place, with their probabilities."""
    return [
        {**_top(one.token, one.logprob), "top_logprobs": [_top(*other) for other in one.top]}
        for one in tokens
    ]


def _top(token: str, logprob: float) -> TopLogprob:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
