# ruff: noqa: PLC0415 - a client that has no bulks pays nothing for them
"""The methods of an asyncio client that are about bulks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack

if TYPE_CHECKING:
    from forebay.producers.bulk.async_handle import AsyncBulkHandle
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.methods import BulkMethods
    from forebay.producers.bulk.options import AsyncRowsLike, RowOptions, RowsLike
    from forebay.producers.bulk.running.progress import Progress
    from forebay.producers.bulk.sample import Estimate, Validation

T = TypeVar("T")


@contextmanager
def taken_from_loop(rows: AsyncRowsLike) -> Iterator[RowsLike]:
    """Yield rows that a thread can take; an async iterable is iterated over on the event loop."""
    from forebay.producers.bulk.loop_rows import LoopRows

    if not isinstance(rows, AsyncIterable):
        yield rows
        return
    found = LoopRows(rows)
    try:
        yield found
    finally:
        found.stop()


class AsyncBulkMethods:
    """Bulks for asyncio. Each has a thread and a Redis connection of its own.

    The connection is made from the client's settings, also if a Redis client was lent.
    """

    def _blocking_client(self) -> BulkMethods:
        """Return a new blocking client of the same tenant."""
        raise NotImplementedError

    async def bulk(self, rows: AsyncRowsLike, **options: Unpack[RowOptions]) -> AsyncBulkHandle:
        """See `Client.bulk`. An async iterable is iterated over on the event loop."""
        return await self._begun(lambda client, found: client.bulk(found, **options), rows)

    async def resume_bulk(self, which: str, rows: AsyncRowsLike | None = None) -> AsyncBulkHandle:
        """See `Client.resume_bulk`."""
        if rows is None:
            return await self._begun(lambda client, _: client.resume_bulk(which))
        return await self._begun(lambda client, found: client.resume_bulk(which, found), rows)

    async def retry_bulk(self, which: str) -> AsyncBulkHandle:
        """See `Client.retry_bulk`."""
        return await self._begun(lambda client, _: client.retry_bulk(which))

    async def validate_bulk(self, rows: AsyncRowsLike, **options: Unpack[RowOptions]) -> Validation:
        """See `Client.validate_bulk`."""
        with taken_from_loop(rows) as found:
            return await self._asked(lambda client: client.validate_bulk(found, **options))

    async def sample_bulk(
        self, rows: AsyncRowsLike, count: int, **options: Unpack[RowOptions]
    ) -> Estimate:
        """See `Client.sample_bulk`."""
        with taken_from_loop(rows) as found:
            return await self._asked(lambda client: client.sample_bulk(found, count, **options))

    async def bulks(self) -> list[Progress]:
        """See `Client.bulks`."""
        return await self._asked(lambda client: client.bulks())

    async def bulk_progress(self, which: str) -> Progress:
        """See `Client.bulk_progress`."""
        return await self._asked(lambda client: client.bulk_progress(which))

    async def set_bulk_state(
        self, which: str, state: Literal["paused", "running", "cancelled"]
    ) -> Progress:
        """See `Client.set_bulk_state`."""
        return await self._asked(lambda client: client.set_bulk_state(which, state))

    async def _begun(
        self, begin: Callable[[BulkMethods, RowsLike], BulkHandle], rows: AsyncRowsLike = ()
    ) -> AsyncBulkHandle:
        from forebay.producers.bulk.async_handle import AsyncBulkHandle, OwnThread

        thread, ends = OwnThread(), ExitStack()
        client = self._blocking_client()
        ends.callback(client.close)
        found = ends.enter_context(taken_from_loop(rows))
        try:
            handle = await thread.run(begin, client, found)
        except BaseException:
            await thread.run(ends.close)
            thread.end()
            raise
        return AsyncBulkHandle(handle, thread, ends.close)

    async def _asked(self, ask: Callable[[BulkMethods], T]) -> T:
        from forebay.producers.bulk.async_handle import OwnThread

        thread, client = OwnThread(), self._blocking_client()
        try:
            return await thread.run(ask, client)
        finally:
            await thread.run(client.close)
            thread.end()
