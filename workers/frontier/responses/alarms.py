"""Functions that are called at a time, all on one thread.

A `threading.Timer` is a thread of its own. One for each call would cost more than the rest of what
bounds the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

MAX_WAIT_S = 3_600.0  # until the thread looks again, if no alarm is due sooner


class Alarms:
    """The alarms of a process, at most one for each owner. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._looks_at = 0.0  # when the thread looks again
        self._thread: threading.Thread | None = None

    def set(self, owner: Hashable, at: float, ring: Callable[[], None]) -> None:
        """Have a function called at a time (`time.monotonic`), in place of the owner's last alarm.

        The function must be quick, and raise nothing.
        """
        with self._changed:
            self._pending[owner] = at, ring
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="alarms")
                self._thread.start()
            elif at < self._looks_at:
                self._changed.notify()

    def cancel(self, owner: Hashable) -> None:
        """Forget the owner's alarm, if there is one that has not rung."""
        with self._changed:
            self._pending.pop(owner, None)

    def _run(self) -> None:
        while True:
            for ring in self._due():
                ring()

    def _due(self) -> list[Callable[[], None]]:
        """Wait until alarms are due, and return their functions."""
        with self._changed:
            while True:
                now = time.monotonic()
                if due := [owner for owner, (at, _) in self._pending.items() if at <= now]:
                    return [self._pending.pop(owner)[1] for owner in due]
                soonest = min((at for at, _ in self._pending.values()), default=now + MAX_WAIT_S)
                self._looks_at = min(soonest, now + MAX_WAIT_S)
                self._changed.wait(self._looks_at - now)
