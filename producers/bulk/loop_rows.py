"""Hands the rows of an async iterable to the thread of a bulk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from forebay.routing.errors import Unavailable

MAX_AHEAD = 1_000  # rows that came and were not taken yet
LOOK_EVERY_S = 0.5  # at the event loop, while no row comes


class LoopRows(Iterator[Any]):
    """The rows of an async iterable, which a task of the running event loop iterates over.

    Another thread takes them. `stop` ends the task.
    """

    def __init__(self, rows: AsyncIterable[Any]) -> None:
        self._rows = rows
        self._came: SimpleQueue[Any] = SimpleQueue()
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._pump())

    def __next__(self) -> Any:
        """Return the next row, waiting for it. Raises what the iterable raises."""
        row = self._next()
        if isinstance(row, _End):
            self._came.put(row)
            raise row.error or StopIteration
        if not self._room.is_set() and self._came.qsize() < MAX_AHEAD // 2:
            self._tell(self._room.set)
        return row

    def _next(self) -> Any:
        """Wait for a row, as long as the event loop may bring one."""
        while True:
            with suppress(Empty):
                return self._came.get(timeout=LOOK_EVERY_S)
            if self._loop.is_closed():  # without a chance for its tasks to end
                return _End(_loop_ended())

    def stop(self) -> None:
        """End the task; whoever still takes rows gets an error."""
        self._tell(self._task.cancel)

    def _tell(self, call: Any) -> None:
        with suppress(RuntimeError):  # the event loop was closed
            self._loop.call_soon_threadsafe(call)

    async def _pump(self) -> None:
        end = _End(_loop_ended())
        try:
            async for row in self._rows:
                self._came.put(row)
                if self._came.qsize() >= MAX_AHEAD:
                    await self._await_room()
            end = _End(None)
        except Exception as error:  # noqa: BLE001 - whoever takes rows is told
            end = _End(error)
        finally:
            self._came.put(end)
            if isinstance(self._rows, AsyncGenerator):
                await self._rows.aclose()

    async def _await_room(self) -> None:
        self._room.clear()
        if self._came.qsize() >= MAX_AHEAD:  # none was taken before the event was cleared
            await self._room.wait()


def _loop_ended() -> Unavailable:
    return Unavailable("the event loop ended before the rows did", field="rows")


class _End(NamedTuple):
    """The end of the rows, and the error that ended them, if there is one."""

    error: Exception | None
