"""Calls that many requests make at the same time, made together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ReplyT = TypeVar("ReplyT")


class Together(Generic[ItemT, ReplyT]):
    """Passes items to a function that takes many; while one call is under way, others gather.

    So a single request waits for nobody, and many requests share a round trip.

    Args:
        call: takes items, and returns a reply or an error for each, in their order.
        most: items of one call.
        unwanted: takes the reply to an item that nobody waits for any more.
    """

    def __init__(
        self,
        call: Callable[[Sequence[ItemT]], Awaitable[Sequence[ReplyT | Exception]]],
        most: int,
        unwanted: Callable[[ItemT, ReplyT], object] = lambda _item, _reply: None,
    ) -> None:
        self._call, self._most, self._unwanted = call, most, unwanted
        self._waiting: list[tuple[ItemT, asyncio.Future[ReplyT]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: ItemT) -> ReplyT:
        """Return the reply to an item, or raise its error."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[ReplyT] = loop.create_future()
        self._waiting.append((item, reply))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await reply

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                replies = await self._replies([item for item, _ in batch])
                for (item, future), reply in zip(batch, replies, strict=True):
                    self._deliver(item, future, reply)
        finally:
            self._running = None

    async def _replies(self, items: Sequence[ItemT]) -> Sequence[ReplyT | Exception]:
        try:
            return await self._call(items)
        except Exception as error:  # noqa: BLE001 - each request raises its own
            return [_copy(error) for _ in items]

    def _deliver(
        self, item: ItemT, future: asyncio.Future[ReplyT], reply: ReplyT | Exception
    ) -> None:
        if isinstance(reply, Exception):
            if not future.done():
                future.set_exception(reply)
        elif future.done():
            self._unwanted(item, reply)
        else:
            future.set_result(reply)


def _copy(error: Exception) -> Exception:
    """Return an equal error: each request adds its own job to it."""
    copied = type(error).__new__(type(error), *error.args)
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    return copied
