"""A chat completion as a stream of chunks (server-sent events)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NotRequired

from pydantic_core import to_json
from starlette.requests import Request
from typing_extensions import TypedDict

from forebay.producers.gateway.asking.streaming import (
    ALIVE,
    EventStream,
    StreamEnd,
    Telling,
    Told,
    begin_all,
    parts_of,
)
from forebay.producers.gateway.errors import fault_of
from forebay.producers.gateway.openai.replies import (
    Usage,
    completion_id,
    finish_reason,
    logprobs,
    made_calls,
    usage,
)
from forebay.producers.gateway.shapes import openai_error, request_id
from forebay.routing.errors import ForebayError, ResultTimeout
from forebay.routing.jobs import Answer
from forebay.routing.receipts import TokenLogprob

DONE = b"data: [DONE]\n\n"


class Chunk(TypedDict):
    """One event of the stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: NotRequired[Usage | None]
    forebay: NotRequired[StreamEnd]


async def streamed(
    request: Request, tellings: Sequence[Telling], model: str, *, with_usage: bool
) -> EventStream:
    """Submit a job for each choice and return their stream.

    A job that is refused is an error, not a stream.
    """
    await begin_all(tellings)
    chunks = _chunks(request, tellings, model, with_usage=with_usage)
    return EventStream(tellings, chunks)


async def _chunks(
    request: Request, tellings: Sequence[Telling], model: str, *, with_usage: bool
) -> AsyncIterator[bytes]:
    head: Chunk = {
        "id": completion_id(tellings[0].job_id), "object": "chat.completion.chunk",
        "created": int(time.time()), "model": model, "choices": [],
    }  # fmt: skip
    answers: list[Answer] = []
    for index in range(len(tellings)):
        yield _event(_delta(head, index, {"role": "assistant", "content": ""}))
    try:
        async for index, part in parts_of(tellings):
            if isinstance(part, Told):
                answers.append(part.answer)
                for chunk in _ending(head, index, part):
                    yield _event(chunk)
            elif part.text:
                yield _event(_delta(head, index, {"content": part.text}, tokens=part.tokens))
            else:
                yield ALIVE
        if with_usage:
            model = answers[0].model or model
            yield _event({**head, "model": model, "usage": usage(answers)})
    except (ForebayError, ResultTimeout) as error:
        yield _event(openai_error(fault_of(error), request_id(request)))
    yield DONE


def _ending(head: Chunk, index: int, told: Told) -> list[Chunk]:
    """Return the chunks of a choice after its last text, and how it ended."""
    answer = told.answer
    head = {**head, "model": answer.model or head["model"]}
    text, tokens = told.rest
    chunks = [_delta(head, index, {"content": text}, tokens=tokens)] if text or tokens else []
    if told.calls:
        made = made_calls(answer.id, told.calls)
        calls = [{"index": number, **call} for number, call in enumerate(made)]
        chunks.append(_delta(head, index, {"tool_calls": calls}))
    last = _delta(head, index, {}, finish_reason(answer.content, told.calls))
    last["forebay"] = told.end()
    chunks.append(last)
    return chunks


def _delta(
    head: Chunk,
    index: int,
    delta: dict[str, Any],
    finish: str | None = None,
    tokens: Sequence[TokenLogprob] = (),
) -> Chunk:
    scored = logprobs(tokens) if tokens else None
    choice = {"index": index, "delta": delta, "logprobs": scored, "finish_reason": finish}
    return {**head, "choices": [choice]}


def _event(data: object) -> bytes:
    return b"data: " + to_json(data) + b"\n\n"
