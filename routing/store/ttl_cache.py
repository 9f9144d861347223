"""What was read a moment ago and is still good: what a decision needs is not asked for each job."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar, TypeVarTuple

from forebay.routing.errors import Unavailable

T = TypeVar("T")
Key = TypeVarTuple("Key")


class TtlCache(Generic[T, *Key]):
    """A function that reads, and what it gave for each key until that is some seconds old.

    Safe to share between threads. Those that find it old in the same moment read it each: a lock
    would have all of them wait in turn for a Redis that does not answer.

    While reading raises `Unavailable`, what was read last holds. Without any it reaches the caller,
    as all else that reading raises, and the next one reads again.
    """

    def __init__(self, read: Callable[[*Key], T], for_s: float) -> None:
        """`for_s` is counted from the end of reading; with 0, everybody reads."""
        self._read = read
        self._for_s = for_s
        self._kept: dict[tuple[*Key], tuple[T, float]] = {}

    def __call__(self, *key: *Key) -> T:
        """What is good for this key: what was read last, or else is read now."""
        kept = self._kept.get(key)
        if kept is None or monotonic() >= kept[1]:
            value = self._again(kept, key)
            self._kept[key] = kept = value, monotonic() + self._for_s
        return kept[0]

    def _again(self, kept: tuple[T, float] | None, key: tuple[*Key]) -> T:
        try:
            return self._read(*key)
        except Unavailable:
            if kept is None:
                raise
            return kept[0]
