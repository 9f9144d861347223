"""Room on the disk for the files of a tenant, those that are on their way included.

An upload reserves its size before it comes, so that uploads at the same time keep within the bound
together. A reservation is a small file that its process keeps locked. If the process dies, the
kernel gives up the lock, and with it the reservation.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forebay.producers.gateway.errors import BodyTooLarge

_LOCK = "lock"  # of whoever reserves


class Reservation:
    """Room for some bytes, until it is closed."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, str(size).encode())

    def close(self) -> None:
        """Give the room back. The bytes that came are counted as a file by now."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class Room:
    """The room of one tenant.

    Args:
        folder: where reservations are; for this tenant alone.
        taken: returns the bytes of the tenant's files.
        most: bytes of all of them together.
    """

    def __init__(self, folder: Path, taken: Callable[[], int], most: int) -> None:
        self._folder, self._taken, self._most = folder, taken, most

    def reserve(self, size: int) -> Reservation:
        """Reserve room for a file, which must be closed.

        Raises:
            BodyTooLarge: The files of the tenant would take too many bytes.
        """
        with self._one_at_a_time():
            taken = self._taken() + self._reserved()
            if taken + size > self._most:
                words = f"the tenant's files take {taken:,} of {self._most:,} bytes"
                raise BodyTooLarge(f"finds no room: {words}; delete some", field="file")
            return Reservation(self._folder / secrets.token_hex(8), size)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Keep other threads and processes from reserving."""
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _reserved(self) -> int:
        """Return the bytes that are on their way; remove what the dead have reserved."""
        return sum(_held(path) for path in self._folder.iterdir() if path.name != _LOCK)


def _held(path: Path) -> int:
    """Return the bytes of a reservation; remove one that nobody holds."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # it was closed meanwhile
        return 0
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(ValueError):
            return int(os.read(file, 32))
        return 0
    else:
        path.unlink(missing_ok=True)
        return 0
    finally:
        os.close(file)
