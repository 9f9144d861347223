"""`POST /v1/messages`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from forebay.producers.gateway.access import caller
from forebay.producers.gateway.anthropic.messages_reply import MessageObject, message
from forebay.producers.gateway.anthropic.messages_request import CountRequest, MessagesRequest
from forebay.producers.gateway.anthropic.messages_stream import streamed
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask, estimate_in
from forebay.producers.gateway.asking.chats import jobs
from forebay.producers.gateway.asking.model_names import asked_of
from forebay.producers.gateway.asking.streaming import Telling
from forebay.producers.gateway.documents import EVENTS, MESSAGES, documented
from forebay.producers.gateway.wire import read, respond

router = APIRouter(tags=["Anthropic"])
EXAMPLE = {"model": "auto", "max_tokens": 200, "messages": MESSAGES}
FORMAT = documented(
    MessagesRequest, MessageObject, error="AnthropicError", media=EVENTS, example=EXAMPLE
)


class CountedTokens(TypedDict):
    """About how many tokens a request has."""

    input_tokens: int


COUNT = documented(CountRequest, CountedTokens, error="AnthropicError", example=EXAMPLE)


@router.post("/v1/messages", **FORMAT)
async def create_message(request: Request) -> Response:
    """Answer a chat. The model names a lane or a kind: `auto`, `local`, `forebay/classify`.

    With `stream`, text comes while it is generated. The answer is checked at its end like every
    answer; the event `message_delta` says in `forebay` if what was sent is the answer.
    """
    by = await caller(request, "submit")
    body = read(MessagesRequest, await request.body())
    wanted = await asked_of(by, body.model)
    chat = body.chat()
    (job,) = jobs(chat, wanted, body.forebay, request.headers, by.tenant)
    if body.stream:
        return await streamed(request, Telling.of(by, job, chat.form), body.model)
    (answer,) = await ask(request, by, [job])
    return respond(message(answer, chat.form), {**by.headers, **origin.headers([answer])})


@router.post("/v1/messages/count_tokens", **COUNT)
async def count_message_tokens(request: Request) -> Response:
    """Estimate the tokens of a request from its length; it is checked, and not answered.

    The model that will answer is not known before, nor is its tokenizer. `usage` of an answer has
    the exact number.
    """
    by = await caller(request, "submit")
    body = read(CountRequest, await request.body())
    wanted = await asked_of(by, body.model)
    (job,) = jobs(body.chat(), wanted, body.forebay, request.headers, by.tenant)
    return respond({"input_tokens": max(1, estimate_in(job))}, by.headers)
