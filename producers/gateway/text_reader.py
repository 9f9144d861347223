"""Reads the texts of all jobs that stream through this process, from one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from forebay.routing.logs import Event, event
from forebay.routing.store.connection import reaching_redis, streams
from forebay.routing.store.encryption import Seal
from forebay.routing.store.text_stream import Piece, read_piece, stream_key

log = logging.getLogger(__name__)

BLOCK_MS = 5  # so soon a job that is added is read too; 20 ms cost each first token 12 ms
PAUSE_S = 0.5  # after an error of Redis
MAX_ENTRIES = 500  # of each stream in one reading
JOINED_CHARS = 1_024  # pieces that wait are joined up to this length, so a slow reader holds little


#: The id of an entry of a text, and its piece; `None` if no worker wrote it.
Entry = tuple[bytes, Piece | None]


class Pieces(asyncio.Queue[Piece]):
    """The pieces that a listener has not taken yet; those of one attempt in a row are joined."""

    _queue: deque[Piece]

    async def next(self, end: asyncio.Future[Any], within_s: float) -> Piece | None:
        """Return the next piece; `None` if there is none at the end, or none comes in time."""
        piece = asyncio.ensure_future(self.get())
        either: list[asyncio.Future[Any]] = [piece, end]
        try:
            await asyncio.wait(either, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            return piece.result() if piece.done() else None
        finally:
            piece.cancel()

    def _put(self, item: Piece) -> None:
        _join(self._queue, item)


def _join(pieces: deque[Piece], piece: Piece) -> None:
    """Add a piece to others: to the last one if they belong together and are short."""
    last = pieces[-1] if pieces else None
    if last and last.attempt == piece.attempt and len(last.text) < JOINED_CHARS:
        pieces[-1] = Piece(piece.attempt, last.text + piece.text, last.tokens + piece.tokens)
    else:
        pieces.append(piece)


@dataclass
class _Text:
    """The text of one job.

    Attributes:
        listeners: the queues of those who read it, and their event loops.
        heard: all pieces so far, for a listener that comes later.
        last: the last entry that was read.
    """

    listeners: list[tuple[Pieces, asyncio.AbstractEventLoop]] = field(default_factory=list)
    heard: deque[Piece] = field(default_factory=deque, repr=False)
    last: bytes = b"0"


class TextReader:
    """Hands out the pieces of jobs' texts, in order, to queues of the event loop.

    One thread asks Redis for the streams of all jobs at once, and only while anybody listens.
    """

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._redis = client
        self._seal = seal
        self._changed = threading.Condition()
        self._texts: dict[bytes, _Text] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def reading(self, job_id: str) -> Iterator[Pieces]:
        """Read the text of a job from its beginning, as long as this block runs.

        The block gets the queue of the pieces.
        """
        key, pieces = stream_key(job_id).encode(), Pieces()
        listener = pieces, asyncio.get_running_loop()
        with self._changed:
            text = self._texts.setdefault(key, _Text())
            text.listeners.append(listener)
            for piece in text.heard:
                pieces.put_nowait(piece)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="text-reader")
                self._thread.start()
            self._changed.notify()
        try:
            yield pieces
        finally:
            with self._changed:
                text.listeners.remove(listener)
                if not text.listeners:
                    del self._texts[key]

    def after(self, job_id: str, last: bytes) -> list[Entry]:
        """Return the entries of a job's text after this one, as they were written.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with reaching_redis():
            found: Any = self._redis.xrange(stream_key(job_id), min=b"(" + last)
        return [(entry, read_piece(fields, self._seal)) for entry, fields in found]

    def close(self) -> None:
        """End the thread soon."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (last := self._await_listeners()) is not None:
            try:
                reply: Any = self._redis.xread(last, count=MAX_ENTRIES, block=BLOCK_MS)
            except redis.RedisError as error:
                kind = type(error).__name__
                log.warning("waiting for Redis (%s)", kind, extra=event(Event.REDIS_AWAY))
                threading.Event().wait(PAUSE_S)
                continue
            for key, entries in streams(reply):
                self._hand_out(key, last[key], entries)

    def _await_listeners(self) -> dict[Any, Any] | None:
        """Return the last entry that was read of each stream; `None` to end."""
        with self._changed:
            while not self._texts and not self._closed:
                self._changed.wait()
            return None if self._closed else {key: text.last for key, text in self._texts.items()}

    def _hand_out(
        self, key: bytes, after: bytes, entries: list[tuple[bytes, dict[bytes, bytes]]]
    ) -> None:
        read = [read_piece(fields, self._seal) for _, fields in entries]
        with self._changed:
            text = self._texts.get(key)
            if text is None or text.last != after:  # the last listener left, or another came
                return
            text.last = entries[-1][0]
            for piece in filter(None, read):
                _join(text.heard, piece)
                for pieces, loop in text.listeners:
                    with contextlib.suppress(RuntimeError):  # the loop was closed
                        loop.call_soon_threadsafe(pieces.put_nowait, piece)
