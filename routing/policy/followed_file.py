"""What an operator's file says, followed as the file changes."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from forebay.routing.errors import Misconfigured

T = TypeVar("T")


def stamp(path: Path | None) -> tuple[int, ...]:
    """Return what changes when the file changes; empty if there is no file."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return ()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else ()


class FollowedFile(ABC, Generic[T]):
    """A value that follows its file. A broken new version changes nothing and is logged once.

    Safe to share between threads.

    Attributes:
        look_every_s: how long the file's dates are not looked at again.
    """

    look_every_s: float

    def __init__(self, path: Path | None, load: Callable[[], T]) -> None:
        """Follow a file that `load` reads; without one, the value stays as it is.

        Raises:
            Misconfigured: The file is broken from the start.
        """
        self._path = path
        self._load = load
        self._lock = threading.Lock()
        self._stamp = stamp(path)
        self._value = load()
        self._look_at = monotonic() + self.look_every_s

    def current(self) -> T:
        """Return the value in force, as of `look_every_s` ago at most."""
        if monotonic() >= self._look_at:
            self.look()
        return self._value

    def look(self) -> T:
        """Read the file again if it has changed, and return the value in force."""
        with self._lock:
            self._look_at = monotonic() + self.look_every_s
            now = stamp(self._path)
            if now != self._stamp:
                self._stamp = now
                self._reload()
        return self._value

    def _reload(self) -> None:
        before = self._value
        try:
            self._value = self._load()
        except Misconfigured as error:
            self._log_wrong(error)
        else:
            self._log_read(before)

    @abstractmethod
    def _log_wrong(self, error: Misconfigured) -> None:
        """Log that the file is wrong, and that the value of its last good version applies."""

    @abstractmethod
    def _log_read(self, before: T) -> None:
        """Log that the value was read again; it may be the same as before."""
