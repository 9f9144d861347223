"""Knows when this process was told to end, so that open streams end with it."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Closing:
    """Notices the signals that end a server; made on its event loop.

    The server would wait for each open stream until its grace is over, and a page keeps its stream
    open for hours.
    """

    def __init__(self) -> None:
        self._loop, self._begun = asyncio.get_running_loop(), asyncio.Event()
        if threading.current_thread() is threading.main_thread():  # others get no signals
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    signal.signal(number, self._noticing(handler))

    @property
    def begun(self) -> bool:
        """True once the process was told to end."""
        return self._begun.is_set()

    async def wait(self, seconds: float) -> None:
        """Return after so long, or as soon as the process is told to end."""
        try:
            await asyncio.wait_for(self._begun.wait(), seconds)
        except TimeoutError:
            return

    def _noticing(self, handler: Any) -> Any:
        """Return a handler that notices the signal, and passes it on to who handled it before."""

        def notice(number: int, frame: FrameType | None) -> None:
            self._loop.call_soon_threadsafe(self._begun.set)
            handler(number, frame)

        return notice
