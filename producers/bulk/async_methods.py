# ruff: noqa: PLC0415 - a client that has no bulks pays nothing for them
"""The methods of an asyncio client that are about bulks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Unpack

if TYPE_CHECKING:
    from forebay.producers.bulk.async_handle import AsyncBulkHandle
    from forebay.producers.bulk.handle import BulkHandle
    from forebay.producers.bulk.methods import BulkMethods
    from forebay.producers.bulk.options import RowOptions, RowsLike
    from forebay.producers.bulk.running.progress import Progress
    from forebay.producers.bulk.sample import Estimate, Validation
    from forebay.routing.bulk.bulks import BulkState

T = TypeVar("T")


class AsyncBulkMethods:
    """Bulks for asyncio. Each has a thread and a Redis connection of its own.

    The connection is made from the client's settings, also if a Redis client was lent.
    """

    def _blocking_client(self) -> BulkMethods:
        """Return a new blocking client of the same tenant."""
        raise NotImplementedError

    async def bulk(self, rows: RowsLike, **options: Unpack[RowOptions]) -> AsyncBulkHandle:
        """See `Client.bulk`. An iterable is iterated over on the thread of the bulk."""
        return await self._begun(lambda client: client.bulk(rows, **options))

    async def resume_bulk(self, which: str, rows: RowsLike | None = None) -> AsyncBulkHandle:
        """See `Client.resume_bulk`."""
        return await self._begun(lambda client: client.resume_bulk(which, rows))

    async def retry_bulk(self, which: str) -> AsyncBulkHandle:
        """See `Client.retry_bulk`."""
        return await self._begun(lambda client: client.retry_bulk(which))

    async def validate_bulk(self, rows: RowsLike, **options: Unpack[RowOptions]) -> Validation:
        """See `Client.validate_bulk`."""
        return await self._asked(lambda client: client.validate_bulk(rows, **options))

    async def sample_bulk(
        self, rows: RowsLike, count: int, **options: Unpack[RowOptions]
    ) -> Estimate:
        """See `Client.sample_bulk`."""
        return await self._asked(lambda client: client.sample_bulk(rows, count, **options))

    async def bulks(self) -> list[Progress]:
        """See `Client.bulks`."""
        return await self._asked(lambda client: client.bulks())

    async def bulk_progress(self, bulk_id: str) -> Progress:
        """See `Client.bulk_progress`."""
        return await self._asked(lambda client: client.bulk_progress(bulk_id))

    async def set_bulk_state(self, bulk_id: str, state: BulkState) -> Progress:
        """See `Client.set_bulk_state`."""
        return await self._asked(lambda client: client.set_bulk_state(bulk_id, state))

    async def _begun(self, begin: Callable[[BulkMethods], BulkHandle]) -> AsyncBulkHandle:
        from forebay.producers.bulk.async_handle import AsyncBulkHandle, OwnThread

        thread, client = OwnThread(), self._blocking_client()
        try:
            return AsyncBulkHandle(await thread.run(begin, client), thread, client.close)
        except BaseException:
            await thread.run(client.close)
            thread.end()
            raise

    async def _asked(self, ask: Callable[[BulkMethods], T]) -> T:
        from forebay.producers.bulk.async_handle import OwnThread

        thread, client = OwnThread(), self._blocking_client()
        try:
            return await thread.run(ask, client)
        finally:
            await thread.run(client.close)
            thread.end()
