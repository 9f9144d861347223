"""Places for rows in the engine, which the shards of one worker share."""

from __future__ import annotations

import threading


class Places:
    """Counts how many rows may be in the engine at once. Safe to share between threads."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = threading.Condition()

    def take(self, most: int, *, wait: bool) -> int:
        """Take up to so many places, and return how many; `wait` until there is one."""
        with self._changed:
            while wait and most and not self._free:
                self._changed.wait()
            taken = min(most, self._free)
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """Give back places that were taken."""
        with self._changed:
            self._free += count
            self._changed.notify(count)
