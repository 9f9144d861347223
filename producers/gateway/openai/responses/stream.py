"""A response as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic_core import to_json

from forebay.producers.gateway.asking.spoken import Part
from forebay.producers.gateway.asking.streaming import ALIVE, EventStream, Telling, Told
from forebay.producers.gateway.asking.tools import Tools
from forebay.producers.gateway.errors import fault_of
from forebay.producers.gateway.openai.replies import scored
from forebay.producers.gateway.openai.responses.reply import (
    OutputCall,
    ResponseObject,
    answered,
    failed,
    output,
)
from forebay.routing.errors import ForebayError, ResultTimeout


def streamed(telling: Telling, begun: ResponseObject) -> EventStream:
    """Return the stream of a job that has begun, and of its response."""
    return EventStream([telling], _sent(Events(begun, telling.tools), telling))


async def _sent(events: Events, telling: Telling) -> AsyncIterator[bytes]:
    for event in events.begin():
        yield event
    try:
        async for part in telling.parts():
            if isinstance(part, Told):
                for event in events.end(part):
                    yield event
            else:
                for event in events.delta(part) if part.text else (ALIVE,):
                    yield event
    except ForebayError as error:
        yield events.named("response.failed", response=failed(events.base, error))
    except ResultTimeout as error:
        fault = fault_of(error)
        yield events.named("error", code=fault.code, message=fault.message, param=None)


@dataclass
class Events:
    """Makes the events of one stream, which are numbered.

    Attributes:
        base: the response without its answer.
        tools: what the model may call.
        after: the number of the last event that the listener has; none up to it is sent.
    """

    base: ResponseObject
    tools: Tools | None
    after: int = -1
    _opened: bool = False
    _numbers: Iterator[int] = field(default_factory=count)

    def begin(self) -> Iterator[bytes]:
        """Yield the events before the answer."""
        yield self.named("response.created", response=self.base)
        yield self.named("response.in_progress", response=self.base)

    def delta(self, said: Part) -> Iterator[bytes]:
        """Yield the events of a part of the text."""
        if not self._opened:
            self._opened = True
            item = output(self.base["id"], "", "in_progress")
            part, added = item["content"][0], {**item, "content": []}
            yield self.named("response.output_item.added", output_index=0, item=added)
            yield self._of_part("response.content_part.added", part=part)
        tokens = scored(said.tokens)
        yield self._of_part("response.output_text.delta", delta=said.text, logprobs=tokens)

    def end(self, told: Told, *, gone: bool = False) -> Iterator[bytes]:
        """Yield the last events. The text in them is the answer, whatever was sent before.

        Args:
            told: how the stream ended.
            gone: nobody knows which parts were sent, so the listener may have had more events than
                there are now; it gets the last one in any case.
        """
        response = answered(self.base, told.answer, self.tools)
        response["forebay"] = told.end()
        for number, item in enumerate(response["output"]):
            if item["type"] == "message":
                yield from self._text(told, item)
            else:
                yield from self._call(number, item)
        name = f"response.{response['status']}"
        yield self.last(name, response) if gone else self.named(name, response=response)

    def _text(self, told: Told, item: Any) -> Iterator[bytes]:
        if any(told.rest) or not self._opened:
            yield from self.delta(told.rest)
        part = item["content"][0]
        tokens = part["logprobs"]
        yield self._of_part("response.output_text.done", text=told.whole, logprobs=tokens)
        yield self._of_part("response.content_part.done", part=part)
        yield self.named("response.output_item.done", output_index=0, item=item)

    def _call(self, number: int, call: OutputCall) -> Iterator[bytes]:
        added = {**call, "arguments": "", "status": "in_progress"}
        of_call = {"item_id": call["id"], "output_index": number}
        given = {"name": call["name"], "arguments": call["arguments"]}
        yield self.named("response.output_item.added", output_index=number, item=added)
        yield self.named(
            "response.function_call_arguments.delta", **of_call, delta=call["arguments"]
        )
        yield self.named("response.function_call_arguments.done", **of_call, **given)
        yield self.named("response.output_item.done", output_index=number, item=call)

    def last(self, name: str, response: ResponseObject) -> bytes:
        """Return the last event, also for a listener that has had more events than there are."""
        if self.after >= (number := next(self._numbers)):
            number = self.after + 1
        self._numbers = count(number)
        return self.named(name, response=response)

    def named(self, name: str, /, **fields: Any) -> bytes:
        """Return an event; nothing if the listener has it."""
        number = next(self._numbers)
        if number <= self.after:
            return b""
        data = {"type": name, "sequence_number": number, **fields}
        return f"event: {name}\ndata: ".encode() + to_json(data) + b"\n\n"

    def _of_part(self, name: str, /, **fields: Any) -> bytes:
        item_id = f"msg_{self.base['id'].removeprefix('resp_')}"
        return self.named(name, item_id=item_id, output_index=0, content_index=0, **fields)
