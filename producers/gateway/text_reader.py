"""Reads the texts of all jobs that stream through this process, from one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from forebay.routing.logs import Event, event
from forebay.routing.store.encryption import Seal
from forebay.routing.store.text_stream import Piece, read_piece, stream_key

log = logging.getLogger(__name__)

BLOCK_MS = 20  # so soon a job that is added is read too
PAUSE_S = 0.5  # after an error of Redis
MAX_ENTRIES = 500  # of each stream in one reading

Pieces = asyncio.Queue[Piece]


class TextReader:
    """Hands out the pieces of jobs' texts, in order, to queues of the event loop.

    One thread asks Redis for the streams of all jobs at once, and only while there are any.
    """

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._redis = client
        self._seal = seal
        self._changed = threading.Condition()
        self._queues: dict[bytes, tuple[Pieces, asyncio.AbstractEventLoop]] = {}
        self._last: dict[bytes, bytes] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def reading(self, job_id: str) -> Iterator[Pieces]:
        """Read the text of a job as long as this block runs; the block gets the queue."""
        key, pieces = stream_key(job_id).encode(), Pieces()
        with self._changed:
            self._queues[key] = pieces, asyncio.get_running_loop()
            self._last[key] = b"0"
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="text-reader")
                self._thread.start()
            self._changed.notify()
        try:
            yield pieces
        finally:
            with self._changed:
                self._queues.pop(key, None)
                self._last.pop(key, None)

    def close(self) -> None:
        """End the thread soon."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while (last := self._await_jobs()) is not None:
            try:
                reply: Any = self._redis.xread(last, count=MAX_ENTRIES, block=BLOCK_MS)
            except redis.RedisError as error:
                kind = type(error).__name__
                log.warning("waiting for Redis (%s)", kind, extra=event(Event.REDIS_AWAY))
                threading.Event().wait(PAUSE_S)
                continue
            for key, entries in _streams(reply):
                self._hand_out(key, entries)

    def _await_jobs(self) -> dict[Any, Any] | None:
        """Return the last entry that was read of each stream; `None` to end."""
        with self._changed:
            while not self._queues and not self._closed:
                self._changed.wait()
            return None if self._closed else dict(self._last)

    def _hand_out(self, key: bytes, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        with self._changed:
            if key not in self._queues:
                return
            self._last[key] = entries[-1][0]
            pieces, loop = self._queues[key]
        for _, fields in entries:
            piece = read_piece(fields, self._seal)
            if piece is not None:
                with contextlib.suppress(RuntimeError):  # the loop was closed
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)


def _streams(reply: Any) -> list[tuple[bytes, list[Any]]]:
    """Return XREAD's reply as pairs: RESP2 answers with a list of pairs, RESP3 with a mapping."""
    if isinstance(reply, dict):
        return [(key, entries[0]) for key, entries in reply.items() if entries]
    return list(reply or [])
