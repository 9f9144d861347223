"""Iterates over what may block on a thread of its own, so that nothing else waits for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from contextvars import copy_context
from typing import Any

from forebay.producers.bulk.sources.items import encoded

#: How much is kept that nobody has read yet.
MAX_AHEAD_BYTES = 256 * 1024


class ReadAhead:
    """The encoded items of an iterable, as bytes that are read once; see `ItemStream`.

    A thread iterates, in the context of whoever made this. It begins with the first read.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._failure: BaseException | None = None
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="bulk-rows", daemon=True
        )

    def ready(self, seconds: float) -> bool:
        """Wait until `read` takes no time, at most so long; return whether that is so."""
        with self._changed:
            self._start()
            return self._changed.wait_for(self._has_news, seconds)

    def read(self, size: int) -> bytes:
        """Return bytes of the items that have come, waiting for the first; none at the end.

        Raises whatever the iterable raises, at each later call too: it has not come to its end.
        """
        with self._changed:
            self._start()
            self._changed.wait_for(self._has_news)
            if not self._lines:
                if self._failure:
                    raise self._failure
                return b""
            data = self._taken(size)
            self._changed.notify_all()
        return data

    def close(self) -> None:
        """Have the thread end once the iterable returns; a generator is closed there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        if not (self._thread.ident or self._closed):
            self._thread.start()

    def _has_news(self) -> bool:
        return bool(self._lines) or self._ended or self._closed

    def _taken(self, size: int) -> bytes:
        """Take whole lines, or the part of one that fits."""
        taken = [self._lines.popleft()]
        size -= len(taken[0])
        while self._lines and len(self._lines[0]) <= size:
            taken.append(self._lines.popleft())
            size -= len(taken[-1])
        if size < 0:
            self._lines.appendleft(taken[0][size:])
            taken[0] = taken[0][:size]
        data = b"".join(taken)
        self._size -= len(data)
        return data

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._keep(encoded(item)):
                    break
        except BaseException as error:  # noqa: BLE001 - whoever reads is told
            self._failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            if isinstance(self._items, Generator):
                self._items.close()

    def _keep(self, line: bytes) -> bool:
        """Keep a line once there is room; return false if nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < MAX_AHEAD_BYTES or self._closed)
            self._lines.append(line)
            self._size += len(line)
            if len(self._lines) == 1:
                self._changed.notify_all()
            return not self._closed
