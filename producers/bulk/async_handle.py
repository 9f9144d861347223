"""The handle of a bulk for asyncio: a thread of its own feeds and collects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from forebay.producers.bulk.handle import BulkHandle, ResultRow
from forebay.producers.bulk.rows import BadRow
from forebay.producers.bulk.running.progress import Progress

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """One thread that runs blocking calls one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "bulk")

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a blocking call returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))

    def end(self) -> None:
        """End the thread after the call that runs."""
        self._thread.shutdown(wait=False)


class AsyncBulkHandle:
    """A bulk that this process feeds and collects; see `BulkHandle`.

    Files are read and written on a thread, not on the event loop.

    Attributes:
        id: the id of the bulk.
        out: the file of the results.
        bad_rows: the file of the rows that could not be read; made only if there are some.
    """

    def __init__(self, handle: BulkHandle, thread: OwnThread, close: Callable[[], None]) -> None:
        """`close` closes what the handle works with."""
        self.id: str = handle.id
        self.out: Path = handle.out
        self.bad_rows: Path = handle.bad_rows
        self._handle, self._thread, self._close = handle, thread, close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[ResultRow]:
        """Yield the rows of the output as they are written."""
        while (rows := await self._thread.run(self._handle.next_rows)) is not None:
            for row in rows:
                yield row

    async def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as the blocking handle has it
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Progress:
        """See `BulkHandle.wait`; `on_progress` is called on the thread."""
        return await self._thread.run(self._handle.wait, timeout, on_progress)

    def progress(self) -> Progress:
        """Return how far the bulk is, without asking anybody."""
        return self._handle.progress()

    def __repr__(self) -> str:
        """Return the id, and where the results are."""
        return f"Async{self._handle!r}"

    @property
    def first_bad(self) -> list[BadRow]:
        """See `BulkHandle.first_bad`."""
        return self._handle.first_bad

    @property
    def input_change(self) -> str | None:
        """See `BulkHandle.input_change`."""
        return self._handle.input_change

    async def pause(self) -> None:
        """See `BulkHandle.pause`."""
        await asyncio.to_thread(self._handle.pause)

    async def resume(self) -> None:
        """See `BulkHandle.resume`."""
        await asyncio.to_thread(self._handle.resume)

    async def cancel(self) -> None:
        """See `BulkHandle.cancel`."""
        await asyncio.to_thread(self._handle.cancel)

    async def close(self) -> None:
        """See `BulkHandle.close`."""

        def close() -> Any:
            self._handle.close()
            self._close()

        await self._thread.run(close)
        self._thread.end()
