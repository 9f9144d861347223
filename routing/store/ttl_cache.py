"""A cache with a time to live, for values that every decision needs and that change slowly."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar, TypeVarTuple

from forebay.routing.errors import Unavailable

MAX_KEYS = 10_000  # such as tenants, whose names a producer chooses

T = TypeVar("T")
Key = TypeVarTuple("Key")


class TtlCache(Generic[T, *Key]):
    """A function that reads a value, called again for a key only once the key's value is old.

    If the read raises `Unavailable`, return the old value. Without an old value, or on any other
    error, raise; the next call reads again.

    Safe to share between threads. Threads that find the value old at the same moment all read it:
    under a lock, all of them would wait in turn for a Redis that does not answer.
    """

    def __init__(self, read: Callable[[*Key], T], for_s: float) -> None:
        """Keep what `read` returns for `for_s` seconds, counted from the end of the read."""
        self._read = read
        self._for_s = for_s
        self._entries: dict[tuple[*Key], tuple[T, float]] = {}

    def __call__(self, *key: *Key) -> T:
        """Return the value of a key: the kept value, or a new one if that is old."""
        entry = self._entries.get(key)
        if entry is None or monotonic() >= entry[1]:
            value = self._reread(entry, key)
            if len(self._entries) >= MAX_KEYS:
                self._entries.clear()
            self._entries[key] = entry = value, monotonic() + self._for_s
        return entry[0]

    def _reread(self, entry: tuple[T, float] | None, key: tuple[*Key]) -> T:
        try:
            return self._read(*key)
        except Unavailable:
            if entry is None:
                raise
            return entry[0]
