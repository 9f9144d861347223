"""Places for rows in the engine, which the shards of one worker share."""

from __future__ import annotations

import threading


class Places:
    """Counts how many rows may be in the engine at once. Safe to share between threads."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = threading.Condition()

    def take(self, most: int, *, within_s: float = 0.0) -> int:
        """Take up to so many places, and return how many; wait for the first one so long."""
        with self._changed:
            if most:
                self._changed.wait_for(lambda: self._free, within_s)
            taken = min(most, self._free)
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """Give back places that were taken."""
        with self._changed:
            self._free += count
            self._changed.notify(count)
