"""The events of a job, for those who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import to_json

from forebay.producers.gateway.access import Caller
from forebay.producers.gateway.asking.streaming import ALIVE, QUIET_S
from forebay.producers.gateway.native.job_view import view
from forebay.producers.gateway.text_reader import Pieces
from forebay.routing.jobs import JobStatus
from forebay.routing.store.text_stream import Piece


async def events(by: Caller, status: JobStatus) -> AsyncIterator[bytes]:
    """Yield the job's status now, its text while it is generated, and its result.

    The text is a preview: of a job that is tried again, it begins anew under another `attempt`, and
    the result may overtake its last piece.
    A watcher that goes away changes nothing of the job.
    """
    client = by.gateway.client(by.tenant)
    yield _event("status", status.model_dump_json().encode())
    with by.gateway.reading(status.id) as pieces:
        future: asyncio.Future[Any] = await client.future(status.id)
        try:
            async for piece in _until(future, pieces):
                yield _event("text", _text(piece)) if piece else ALIVE
        finally:
            if not future.done():
                future.cancel()
    found = await view(client, status.id)
    yield _event("result", found.model_dump_json().encode())


async def _until(future: asyncio.Future[Any], pieces: Pieces) -> AsyncIterator[Piece | None]:
    """Yield pieces until the job has ended; `None` as a sign of life."""
    while not (future.done() and pieces.empty()):
        piece = await pieces.next(future, QUIET_S)
        if piece or not future.done():
            yield piece


def _text(piece: Piece) -> bytes:
    """Return a piece as JSON, with its tokens if the job asks for their probabilities."""
    fields = piece._asdict()
    return to_json(fields if piece.tokens else {**fields, "tokens": None}, exclude_none=True)


def _event(name: str, data: bytes) -> bytes:
    return f"event: {name}\ndata: ".encode() + data + b"\n\n"
