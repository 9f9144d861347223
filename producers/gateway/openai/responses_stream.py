"""A response as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic_core import to_json

from forebay.producers.gateway.asking.streaming import EventStream, Telling, Told
from forebay.producers.gateway.errors import fault_of
from forebay.producers.gateway.openai.chat_stream import ALIVE
from forebay.producers.gateway.openai.responses_reply import (
    ResponseObject,
    answered,
    empty,
    failed,
    output,
)
from forebay.routing.errors import ForebayError, ResultTimeout


async def streamed(telling: Telling, model: str) -> EventStream:
    """Submit the job and return its stream. A job that is refused is an error, not a stream."""
    await telling.begin()
    events = _Events(empty(telling.job_id, model, "in_progress"))
    return EventStream(telling, _sent(events, telling))


async def _sent(events: _Events, telling: Telling) -> AsyncIterator[bytes]:
    for event in events.begin():
        yield event
    try:
        async for part in telling.parts():
            if isinstance(part, Told):
                for event in events.end(part):
                    yield event
            else:
                yield events.delta(part) if part else ALIVE
    except ForebayError as error:
        yield events.named("response.failed", response=failed(events.base, error))
    except ResultTimeout as error:
        fault = fault_of(error)
        yield events.named("error", code=fault.code, message=fault.message, param=None)


@dataclass
class _Events:
    """Makes the events of one stream, which are numbered.

    Attributes:
        base: the response without its answer.
    """

    base: ResponseObject
    _numbers: Iterator[int] = field(default_factory=count)

    def begin(self) -> Iterator[bytes]:
        item = output(self.base["id"], "", "in_progress")
        part = item["content"][0]
        yield self.named("response.created", response=self.base)
        yield self.named("response.in_progress", response=self.base)
        yield self.named("response.output_item.added", output_index=0, item={**item, "content": []})
        yield self._of_part("response.content_part.added", part=part)

    def delta(self, text: str) -> bytes:
        return self._of_part("response.output_text.delta", delta=text, logprobs=[])

    def end(self, told: Told) -> Iterator[bytes]:
        """Yield the last events. The text in them is the answer, whatever was sent before."""
        response = answered(self.base, told.answer)
        response["forebay"] = told.end()
        item = response["output"][0]
        if told.text:
            yield self.delta(told.text)
        yield self._of_part("response.output_text.done", text=told.whole, logprobs=[])
        yield self._of_part("response.content_part.done", part=item["content"][0])
        yield self.named("response.output_item.done", output_index=0, item=item)
        yield self.named(f"response.{response['status']}", response=response)

    def named(self, name: str, **fields: Any) -> bytes:
        data = {"type": name, "sequence_number": next(self._numbers), **fields}
        return f"event: {name}\ndata: ".encode() + to_json(data) + b"\n\n"

    def _of_part(self, name: str, **fields: Any) -> bytes:
        item_id = f"msg_{self.base['id'].removeprefix('resp_')}"
        return self.named(name, item_id=item_id, output_index=0, content_index=0, **fields)
