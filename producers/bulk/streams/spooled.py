"""Keeps what comes from a pipe or a program in a file, so that it can be read again."""

from __future__ import annotations

import io
import math
import os
import select
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.streams import fingerprint
from forebay.producers.bulk.streams.fingerprint import CHUNK_BYTES, Fingerprint
from forebay.producers.bulk.streams.inputs import BUFFER_BYTES, NotYet, readable
from forebay.routing.errors import InvalidJob, Unavailable

#: The end of a spool's name until the input has come to its end.
PART = ".part"


class SpooledInput:
    """An input that comes once, copied into a file as it is read.

    While it comes, the file is named `<path>.part`; at the end of the input it gets its name, and
    can be opened as a file. If a part is there already, the input must begin with the same bytes:
    they are compared and skipped once more than the part is read.

    Args:
        read: return the next bytes of the input, at most as many as it is given; none at the end.
        path: the file to keep; without it, a temporary file that `close` removes.
        name: how errors name the input.
        ready: wait until `read` takes no time, at most for so many seconds, and return whether that
            is so; without it, reading waits for bytes, however long that takes.
        on_close: closes the input.

    Raises:
        InvalidJob: The file cannot be made. When bytes are read: the input does not begin with what
            the part holds.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        *,
        path: Path | None = None,
        name: str,
        ready: Callable[[float], bool] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._read = read
        self._path = path
        self._ready, self._patience_s = ready, math.inf
        self._on_close = on_close
        self._ended, self.until = False, math.inf
        self._unkept = b""  # what was read while the disk was full
        self._lock = RLock()
        with readable(name if path is None else shown(path)):
            self._file = _opened(path)
        self._size: int = self._file.seek(0, os.SEEK_END)
        self._kept, self._skipped = self._size, 0

    @property
    def complete(self) -> bool:
        """Whether the input has come to its end."""
        return self._ended

    @property
    def rereading(self) -> float | None:
        """How much of the part that was there has come again, 0 to 1; `None` once all has."""
        return self._skipped / self._kept if self._skipped < self._kept else None

    def open(self, offset: int = 0) -> BinaryIO:
        """Return a stream that begins at an offset that was reached before."""
        if offset > self._size:
            raise InvalidJob(
                f"is shorter than it was: {self._size:,} bytes are kept of {offset:,}",
                field=self.name,
            )
        return io.BufferedReader(_Tee(self, offset), BUFFER_BYTES)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from the file, or from the live input if the file has no more."""
        with self._lock:
            if offset == self._size and not self._ended:
                self._take(size)
            return os.pread(self._file.fileno(), size, offset)

    def _take(self, size: int) -> None:
        """Move bytes from the live input to the end of the file."""
        self._skip_kept()
        self._await_bytes()
        data, self._unkept = self._unkept or self._read(size), b""
        if data:
            try:
                _write_at(self._file.fileno(), data, self._size)
            except OSError as error:
                self._unkept = data
                raise _cannot_keep(error, self.name) from None
            self._size += len(data)
        else:
            self._end()

    def _skip_kept(self) -> None:
        """Read the bytes that the part holds once more, and compare them."""
        until = time.monotonic() + self._patience_s
        while self._skipped < self._kept:
            self._await_bytes()
            data = self._read(min(CHUNK_BYTES, self._kept - self._skipped))
            if not data or os.pread(self._file.fileno(), len(data), self._skipped) != data:
                raise InvalidJob(
                    f"does not begin with the {self._kept:,} bytes that were read before: give the "
                    "same input again, or begin a new bulk",
                    field=self.name,
                )
            self._skipped += len(data)
            if time.monotonic() > until:
                raise NotYet

    def wait_at_most(self, seconds: float) -> None:
        """From now on, raise `NotYet` if reading would wait longer for new bytes to come."""
        self._patience_s = seconds

    def _await_bytes(self) -> None:
        """Wait until reading takes no time, if that can be told."""
        if self._ready is None or self._unkept or math.isinf(self._patience_s):
            return
        if not self._ready(self._patience_s):
            raise NotYet

    def _end(self) -> None:
        self.sync()
        if self._path is not None:
            part_of(self._path).rename(self._path)
        self._ended = True

    def size(self) -> int:
        """Return how many bytes have come."""
        return self._size

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint. This waits for the input to come to its end."""
        with readable(self.name), self._lock:
            while not self._ended:
                self._take(CHUNK_BYTES)
            self._file.seek(0)
            digest = fingerprint.digest(self._file, self._size)
            return Fingerprint(self._size, digest, os.fstat(self._file.fileno()).st_mtime_ns)

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return what changed, or `None`. This waits for the input to come to its end."""
        now = self.fingerprint()
        if now.digest == then.digest:
            return None
        return f"has other content than when the bulk began: {now.size:,} bytes, not {then.size:,}"

    def sync(self) -> None:
        """Make durable what has come. Raises `Unavailable` if the disk is full."""
        if self._ended:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_keep(error, self.name) from None

    def close(self) -> None:
        """Close the file, and the input."""
        self._file.close()
        if self._on_close is not None:
            self._on_close()


def readiness(fd: int) -> Callable[[float], bool]:
    """Return the function that waits until a file descriptor can be read; see `SpooledInput`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return lambda seconds: bool(poll.poll(seconds * 1000))


def _opened(path: Path | None) -> Any:
    if path is None:
        return tempfile.NamedTemporaryFile(prefix="forebay-", buffering=0)
    if path.exists():
        raise InvalidJob("is complete: open it as a file", field=shown(path))
    part = part_of(path)
    part.touch(mode=0o600)
    return part.open("r+b", buffering=0)


def part_of(path: Path) -> Path:
    """Return the name that a spool has until its input has come to its end."""
    return path.with_name(path.name + PART)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def _cannot_keep(error: OSError, name: str) -> Unavailable:
    reason = os.strerror(error.errno) if error.errno else "failed"
    return Unavailable(f"cannot be kept on disk: {reason}; free some space and resume", field=name)


class _Tee(io.RawIOBase):
    """A stream over a spooled input, with a place of its own."""

    def __init__(self, content: SpooledInput, offset: int) -> None:
        self._content = content
        self._offset = offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._content.read_at(self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
