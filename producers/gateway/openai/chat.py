"""`POST /v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from forebay.producers.gateway.access import caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import ask
from forebay.producers.gateway.asking.chats import jobs
from forebay.producers.gateway.asking.model_names import asked_of
from forebay.producers.gateway.asking.streaming import Telling
from forebay.producers.gateway.documents import EVENTS, MESSAGES, documented
from forebay.producers.gateway.openai.chat_request import ChatRequest
from forebay.producers.gateway.openai.chat_stream import streamed
from forebay.producers.gateway.openai.completions.stored import store
from forebay.producers.gateway.openai.replies import ChatCompletion, completion
from forebay.producers.gateway.wire import read, respond

router = APIRouter(tags=["OpenAI"])


CHAT = documented(
    ChatRequest, ChatCompletion, media=EVENTS, example={"model": "auto", "messages": MESSAGES}
)


@router.post("/v1/chat/completions", **CHAT)
async def create_chat_completion(request: Request) -> Response:
    """Answer a chat. The model names a lane or a kind: `auto`, `local`, `forebay/classify`.

    With `stream`, text comes while it is generated. The answer is checked at its end like every
    answer; the last chunk says in `forebay` if what was sent is the answer.
    """
    by = await caller(request, "submit")
    sent = await request.body()
    body = read(ChatRequest, sent)
    wanted, chat = await asked_of(by, body.model), body.chat()
    asked = jobs(chat, wanted, body.forebay, request.headers, by.tenant, body.n or 1)
    if body.stream:
        tellings = [Telling.of(by, job, chat.form) for job in asked]
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = await streamed(request, tellings, body.model, with_usage=with_usage)
        if body.store:
            by.gateway.later(store(by, sent, body, [telling.job_id for telling in tellings]))
        return stream
    answers = await ask(request, by, asked, own=bool(body.store))
    if body.store:
        await store(by, sent, body, [answer.id for answer in answers])
    tier = "flex" if asked[0].priority == "bulk" else "default"
    return respond(completion(answers, tier, chat.form), {**by.headers, **origin.headers(answers)})
