"""The work of the workers, by their own account, in a file that only grows and needs no Redis."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One line: Unix time (seconds), process id, event, job or call, and details."""

    at: float
    pid: int
    what: str
    about: str
    more: str


class Diary:
    """Appends each line in one write, so that a kill leaves whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, about: str = "-", more: str = "-", pid: int = 0) -> None:
        """Write one line, by default with the pid of this process."""
        line = f"{time.time():.6f} {pid or os.getpid()} {what} {about} {more}\n"
        os.write(self._file, line.encode())

    def entries(self) -> list[Entry]:
        """Return the lines of all processes, sorted by time."""
        lines = (line.split() for line in self.path.read_text().splitlines())
        return sorted(Entry(float(at), int(pid), *words) for at, pid, *words in lines)
