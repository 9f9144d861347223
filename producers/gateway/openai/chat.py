"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import Caller, caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask
from forebay.producers.gateway.asking.chats import jobs, text_of, was_cut
from forebay.producers.gateway.asking.model_names import Target, target
from forebay.producers.gateway.documents import documented
from forebay.producers.gateway.openai.chat_request import ChatRequest
from forebay.producers.gateway.wire import read, respond
from forebay.routing.jobs import Answer

router = APIRouter(tags=["OpenAI"])


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


@router.post("/v1/chat/completions", **documented(ChatRequest, ChatCompletion))
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat. The model names a lane or a kind: `auto`, `local`, `forebay/classify`."""
    by = await caller(request, "submit")
    body = read(ChatRequest, await request.body())
    asked = jobs(
        body.chat(), model_target(by, body.model), body.forebay, request.headers, by.tenant,
        body.n or 1,
    )  # fmt: skip
    answers = await ask(request, by, asked)
    tier = "flex" if asked[0].priority == "bulk" else "default"
    return respond(completion(answers, tier), {**by.headers, **origin.headers(answers)})


def model_target(by: Caller, model: str) -> Target:
    """Return what the model's name asks for.

    Raises:
        UnknownModel: The caller's tenant has no model of this name.
    """
    gateway = by.gateway
    return target(model, by.tenant, gateway.policy.current(), gateway.settings.gateway_models)


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
