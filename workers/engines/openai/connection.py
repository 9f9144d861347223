"""The event loop on which the requests to a server run, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from forebay.workers.engines.openai.client import OpenClient, ServerClient

_CLOSE_S = 5.0
T = TypeVar("T")


class Connection:
    """Open connections to a server.

    Attributes:
        client: only for the event loop.
        loop: the event loop.
    """

    def __init__(self, server: ServerClient) -> None:
        opened: Future[tuple[OpenClient, asyncio.AbstractEventLoop]] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._keep_open(server, opened)),
            name="openai-requests",
            daemon=True,
        )
        self._thread.start()
        self.client, self.loop = opened.result()

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop, and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(question, self.loop).result()

    def close(self) -> None:
        """End all requests and the thread. A second call does nothing."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_CLOSE_S)

    async def _keep_open(
        self, server: ServerClient, opened: Future[tuple[OpenClient, asyncio.AbstractEventLoop]]
    ) -> None:
        try:
            async with server.opened() as client:
                opened.set_result((client, asyncio.get_running_loop()))
                await self._over.wait()
                await _cancel_others()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)


async def _cancel_others() -> None:
    """Cancel all other tasks while their connections are still open."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
