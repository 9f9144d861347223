"""A message as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from forebay.producers.gateway.anthropic.messages_reply import (
    ToolUseBlock,
    empty,
    ending,
    text_of_reply,
    tool_uses,
    usage,
)
from forebay.producers.gateway.asking.streaming import EventStream, Telling, Told
from forebay.producers.gateway.errors import fault_of
from forebay.producers.gateway.shapes import anthropic_error, request_id
from forebay.routing.errors import ForebayError, ResultTimeout


async def streamed(request: Request, telling: Telling, model: str) -> EventStream:
    """Submit the job and return its stream. A job that is refused is an error, not a stream."""
    await telling.begin()
    return EventStream([telling], _events(request, telling, model))


async def _events(request: Request, telling: Telling, model: str) -> AsyncIterator[bytes]:
    yield _event("message_start", message=empty(telling.job_id, model))
    begun = False
    try:
        async for part in telling.parts():
            if isinstance(part, Told):
                for event in _ending(part, begun=begun):
                    yield event
            elif part.text:
                if not begun:
                    yield _begin(0, {"type": "text", "text": ""})
                begun = True
                yield _text(part.text)
            else:
                yield _event("ping")
    except (ForebayError, ResultTimeout) as error:
        body = anthropic_error(fault_of(error), request_id(request))
        yield b"event: error\ndata: " + to_json(body) + b"\n\n"


def _ending(told: Told, *, begun: bool) -> Iterator[bytes]:
    """Yield the events after the last text: how it ended, and how the answer was made."""
    answer = told.answer
    texts = text_of_reply(told.whole, told.calls)
    if texts:
        if not begun:
            yield _begin(0, {"type": "text", "text": ""})
        if told.rest.text:
            yield _text(told.rest.text)
        yield _event("content_block_stop", index=0)
    for number, block in enumerate(tool_uses(answer.id, told.calls), len(texts)):
        yield from _tool_use(number, block)
    yield _event(
        "message_delta",
        delta=ending(answer.content, told.calls),
        usage=usage(answer),
        forebay=told.end(),
    )
    yield _event("message_stop")


def _tool_use(number: int, block: ToolUseBlock) -> Iterator[bytes]:
    yield _begin(number, {**block, "input": {}})
    given = {"type": "input_json_delta", "partial_json": to_json(block["input"]).decode()}
    yield _event("content_block_delta", index=number, delta=given)
    yield _event("content_block_stop", index=number)


def _begin(number: int, block: dict[str, Any]) -> bytes:
    return _event("content_block_start", index=number, content_block=block)


def _text(text: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: ".encode() + to_json({"type": name, **fields}) + b"\n\n"
