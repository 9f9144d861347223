"""Ask the fleet and pass on the text of the answer while it is generated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, NotRequired, Self, cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.asking import charged, estimate
from forebay.producers.gateway.asking.chats import reply_of, tokens_of
from forebay.producers.gateway.asking.spoken import Part, Spoken
from forebay.producers.gateway.asking.tools import Call, Tools
from forebay.producers.gateway.errors import Refusal
from forebay.producers.gateway.text_reader import Pieces
from forebay.producers.results import Result, answer_of, late
from forebay.routing.errors import ForebayError
from forebay.routing.jobs import Answer, Generate, Job

#: Of a stream of events: no cache keeps it, and no proxy holds it back.
EVENT_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
QUIET_S = 15.0  # without text, a sign of life goes out, so that no proxy cuts the connection
ALIVE = b": waiting\n\n"


class StreamEnd(origin.Origin):
    """How the answer of a stream was made, in its last chunk.

    Attributes:
        verified: the text that was sent is the answer, and the answer passed its checks.
        replaced: the text that was sent is not the answer.
        text: the answer, if it is not what was sent.
    """

    verified: bool
    replaced: bool
    text: NotRequired[str]


@dataclass(slots=True)
class Told:
    """The end of a stream.

    Attributes:
        answer: the final answer, checked like every answer.
        whole: its text.
        rest: what is left to send of it.
        replaced: the text that was sent is not the answer: checks or a second opinion refused it.
        calls: the tools that the answer calls.
    """

    answer: Answer
    whole: str
    rest: Part
    replaced: bool
    calls: Sequence[Call] = ()

    def end(self) -> StreamEnd:
        """Return how the answer was made, and whether it is the text that was sent."""
        verified = not self.replaced and not self.answer.degraded
        end = {**origin.origin(self.answer), "verified": verified, "replaced": self.replaced}
        if self.replaced:
            end["text"] = self.whole
        return cast("StreamEnd", end)


@dataclass(slots=True)
class Telling:
    """A job whose text is passed on. Begin it with `begin`, then iterate over `parts`.

    Attributes:
        caller: who asks.
        job: what is asked; its `stream` is set.
        job_id: of the job that was submitted, or of the first under the idempotency key.
        tools: what the model may call.
        kept: the job and its answer stay; otherwise they are erased when the stream has ended.
    """

    caller: Caller
    job: Job
    job_id: str = ""
    tools: Tools | None = None
    kept: bool = True
    _used: int = 0
    _future: asyncio.Future[Result[Any]] | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _pieces: Pieces = field(default_factory=Pieces)

    @classmethod
    def of(cls, caller: Caller, job: Job, tools: Tools | None = None) -> Self:
        """Return the telling of a job, whose worker then writes the text while it is generated.

        With tools it is told at its end: nobody can tell before whether it is a text or a call.
        """
        streams = job if tools else job.model_copy(update={"stream": True})
        return cls(caller, streams, tools=tools)

    async def begin(self) -> None:
        """Submit the job. Raises what `begin_all` raises."""
        gateway = self.caller.gateway
        async with charged(self.caller, estimate(self.job)):
            self.job_id, self._future = await gateway.begin(self.job)
        self._pieces = self._open.enter_context(gateway.reading(self.job_id))

    async def parts(self) -> AsyncIterator[Part | Told]:
        """Yield text as it comes, an empty part as a sign of life, and at last how it ended.

        Raises:
            ForebayError: The job ended without an answer.
            ResultTimeout: The answer did not come in time; the job goes on.
        """
        assert self._future is not None
        request = self.job.request
        spoken = Spoken(request.trimmed) if isinstance(request, Generate) else Spoken()
        async for part in self._parts(self._future, spoken):
            yield part
        if not self._future.done():
            self._future.cancel()
            self._used = estimate(self.job)
            raise late(self.job_id)
        result = self._future.result()
        self._used = result.tokens_in + result.tokens_out
        answer = answer_of(result)
        whole, calls = reply_of(answer.content, self.tools)
        rest = spoken.end(whole, tokens_of(answer.content) or ())
        yield Told(answer, whole, rest or Part(), replaced=rest is None, calls=calls)

    async def _parts(
        self, future: asyncio.Future[Result[Any]], spoken: Spoken
    ) -> AsyncIterator[Part]:
        """Yield text until the job has ended, or has taken too long.

        The time is looked at here. A time-out around the loop would belong to the task that began
        it, and would hit a client that reads slowly while it is sent to.
        """
        end = time.monotonic() + self.caller.gateway.settings.gateway_wait_s
        while not future.done() and (left := end - time.monotonic()) > 0:
            piece = await self._pieces.next(future, min(QUIET_S, left))
            part = spoken.hear(piece) if piece else Part()
            if part.text or (piece is None and not future.done()):
                yield part

    def close(self) -> None:
        """End the stream: settle its tokens, and cancel the job of a client that went away.

        A job under an idempotency key goes on: its client can ask for it again. This waits for
        nothing, since the request's task may be cancelled already.
        """
        self._open.close()
        gateway = self.caller.gateway
        if self._future is not None and not self._future.done():
            self._future.cancel()
            if self.job.idempotency_key is None:
                gateway.later(gateway.client(self.caller.tenant).cancel(self.job_id))
        elif not self.kept and self.job_id:
            gateway.later(gateway.client(self.caller.tenant).forget(self.job_id))
        self.caller.give_back(estimate(self.job) - self._used)


async def begin_all(tellings: Sequence[Telling]) -> None:
    """Submit the jobs of all tellings, or leave none.

    Raises:
        RateLimited: The key has used up its minute.
        ForebayError: A job was refused.
    """
    for number, telling in enumerate(tellings):
        try:
            await telling.begin()
        except (ForebayError, Refusal):
            for begun in tellings[:number]:
                begun.close()
            raise


async def parts_of(tellings: Sequence[Telling]) -> AsyncIterator[tuple[int, Part | Told]]:
    """Yield the parts of all tellings as they come, each with the number of its telling.

    Raises:
        ForebayError, ResultTimeout: As `Telling.parts` does, of the first that ends so.
    """
    if len(tellings) == 1:
        async for part in tellings[0].parts():
            yield 0, part
        return
    waiting: dict[asyncio.Future[Part | Told], tuple[int, AsyncIterator[Part | Told]]] = {}

    def ask(number: int, parts: AsyncIterator[Part | Told]) -> None:
        waiting[asyncio.ensure_future(anext(parts))] = number, parts

    for number, telling in enumerate(tellings):
        ask(number, telling.parts())
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number, parts = waiting.pop(task)
                with suppress(StopAsyncIteration):
                    yield number, task.result()
                    ask(number, parts)
    finally:
        for task in waiting:
            task.cancel()


class EventStream(StreamingResponse):
    """The response of tellings: server-sent events, which no cache keeps and no proxy holds back.

    However it ends, also before its first event, the tellings are closed.
    """

    def __init__(self, tellings: Sequence[Telling], events: AsyncIterator[bytes]) -> None:
        job_ids = ",".join(telling.job_id for telling in tellings)
        headers = {**tellings[0].caller.headers, **EVENT_HEADERS, "forebay-job-id": job_ids}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._tellings = tellings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            for telling in self._tellings:
                telling.close()
