"""Opens the bytes of an input at any offset, and maps the errors of files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.streams import fingerprint
from forebay.producers.bulk.streams.fingerprint import Fingerprint
from forebay.routing.errors import InvalidJob

#: How much is read from a file at a time.
BUFFER_BYTES = 1 << 18


class NotYet(Exception):
    """Nothing came in time from an input that still comes."""


class Input(Protocol):
    """Bytes that can be read again from any offset that was reached before."""

    @property
    def name(self) -> str:
        """How errors name the input."""

    @property
    def complete(self) -> bool:
        """Whether all of the input is there to be read."""

    @property
    def rereading(self) -> float | None:
        """How much of what an earlier process read has come again; `None` if nothing has to."""

    @property
    def until(self) -> float:
        """The offset at which the rows end, even if more is written there later."""

    def open(self, offset: int = 0) -> BinaryIO:
        """Return a stream that begins at the offset. Raises `InvalidJob`."""

    def size(self) -> int:
        """Return how many bytes there are; of an input that is still coming, how many came."""

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint. Raises `InvalidJob` if the input cannot be read to its end."""

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return what changed, or `None`."""

    def wait_at_most(self, seconds: float) -> None:
        """From now on, raise `NotYet` if reading would wait longer for bytes to come."""

    def sync(self) -> None:
        """Make durable what was read."""

    def close(self) -> None:
        """Close what is open."""


class FileInput:
    """A file. Once its fingerprint is known, what is appended later is not read."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or shown(path)
        self.complete, self.rereading = True, None
        self.until = math.inf

    def open(self, offset: int = 0) -> BinaryIO:
        """Return a stream that begins at the offset. Raises `InvalidJob`."""
        with readable(self.name):
            file = self.path.open("rb", buffering=BUFFER_BYTES)
            file.seek(offset)
        return file

    def size(self) -> int:
        """Return how many bytes the file has."""
        with readable(self.name):
            return int(min(self.path.stat().st_size, self.until))

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint. Raises `InvalidJob`."""
        with readable(self.name):
            found = fingerprint.of_file(self.path)
        self.until = found.size
        return found

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return what changed, or `None`."""
        self.until = then.size
        return fingerprint.change_of_file(self.path, then)

    def wait_at_most(self, seconds: float) -> None:
        """Do nothing: a file is there."""

    def sync(self) -> None:
        """Do nothing: a file can be read again."""

    def close(self) -> None:
        """Do nothing: each reader closes its own stream."""


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn an error of the file system into one that names the input.

    Raises:
        InvalidJob: The file does not exist or cannot be read.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "failed"
        raise InvalidJob(f"cannot be read: {reason}", field=name) from None
