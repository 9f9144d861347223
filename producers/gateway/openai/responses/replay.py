"""A response as a stream that can be left and taken up again: its events keep their numbers.

The events follow from what the job's stream and record hold, so any process of the gateway sends
the same ones. Once the pieces of the text are gone, the events hold the whole text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.asking.chats import reply_of, tokens_of
from forebay.producers.gateway.asking.spoken import Part, Spoken
from forebay.producers.gateway.asking.streaming import ALIVE, QUIET_S, Told
from forebay.producers.gateway.asking.tools import Tools
from forebay.producers.gateway.openai.responses.reply import ResponseObject, failed
from forebay.producers.gateway.openai.responses.stream import Events
from forebay.producers.gateway.text_reader import Pieces
from forebay.producers.results import Result, answer_of
from forebay.routing.errors import ForebayError

BEGINNING = b"0"  # before the first entry of a stream


@dataclass
class Replay:
    """The events of one response, for one listener. One that goes away changes nothing.

    Attributes:
        by: who listens.
        job_id: the job that the response stands for.
        base: the response without its answer.
        tools: what the model may call.
        after: the number of the last event that the listener has.
    """

    by: Caller
    job_id: str
    base: ResponseObject
    tools: Tools | None = None
    after: int = -1
    _last: bytes = BEGINNING
    _spoken: Spoken = field(default_factory=Spoken)

    async def sent(self) -> AsyncIterator[bytes]:
        """Yield the events after the one of the number `after`."""
        async for event in self._events():
            if event:
                yield event

    async def _events(self) -> AsyncIterator[bytes]:
        events = Events(self.base, self.tools, after=self.after)
        for event in events.begin():
            yield event
        with self.by.gateway.reading(self.job_id) as pieces:
            client = self.by.gateway.client(self.by.tenant)
            future: asyncio.Future[Any] = await client.future(self.job_id)
            try:
                async for part in self._parts(future, pieces):
                    for event in events.delta(part) if part.text else (ALIVE,):
                        yield event
            finally:
                if not future.done():
                    future.cancel()
        for event in self._end(events, future.result()):
            yield event

    async def _parts(self, future: asyncio.Future[Any], pieces: Pieces) -> AsyncIterator[Part]:
        """Yield the text until the job has ended; an empty part as a sign of life.

        `pieces` only say that there is more: they may be joined, in another way for each listener.
        """
        while True:
            ended = future.done()
            for part in await self._next(ended=ended):
                yield part
            if ended:
                return
            if await pieces.next(future, QUIET_S) is None and not future.done():
                yield Part()

    async def _next(self, *, ended: bool) -> list[Part]:
        """Return what the entries of the stream add that were not read yet.

        An entry that came after the end of the job is none: another listener may not have seen it.
        """
        gateway = self.by.gateway
        until = await gateway.on_thread(self._ended_ms) if ended else None
        entries = await gateway.pieces_after(self.job_id, self._last)
        parts = []
        for entry, piece in entries:
            if until is not None and int(entry.partition(b"-")[0]) > until:
                break
            self._last = entry
            if piece is not None and (part := self._spoken.hear(piece)).text:
                parts.append(part)
        return parts

    def _ended_ms(self) -> int:
        return self.by.gateway.place_of(self.job_id).record(self.job_id).ended

    def _end(self, events: Events, result: Result[Any]) -> list[bytes]:
        try:
            answer = answer_of(result)
        except ForebayError as error:
            return [events.last("response.failed", failed(self.base, error))]
        whole, calls = reply_of(answer.content, self.tools)
        rest = self._spoken.end(whole, tokens_of(answer.content) or ())
        told = Told(answer, whole, rest or Part(), replaced=rest is None, calls=calls)
        gone = self._last == BEGINNING
        return list(events.end(told, gone=gone))
