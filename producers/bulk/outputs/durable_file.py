"""A file that only grows, and of which a known part survives any crash."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forebay.producers.bulk.names import shown
from forebay.routing.errors import ForebayError, InvalidJob, Unavailable

_BEGIN_AGAIN = "begin again with overwrite"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DurableFile:
    """A file that one process appends to.

    Args:
        path: the file. It is made if it does not exist.
        resume_at: keep this many bytes of an existing file, and append after them.
        overwrite: empty an existing file.

    Raises:
        InvalidJob: The file exists and is neither resumed nor overwritten, is shorter than
            `resume_at`, is being written by another process, or cannot be made.
    """

    def __init__(
        self, path: Path, *, resume_at: int | None = None, overwrite: bool = False
    ) -> None:
        self.path = path
        self.size = resume_at or 0
        if resume_at and not path.exists():
            raise InvalidJob(f"is gone: {_BEGIN_AGAIN}", field=shown(path))
        with writable(path):
            self._fd = os.open(path, _flags(resume_at, overwrite=overwrite), 0o666)
        try:
            self._lock()
            self._cut(resume_at)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def append(self, data: bytes) -> int:
        """Append bytes, and return the file's size once they are on the disk.

        Raises:
            Unavailable: The disk is full or fails. The file keeps what it had before, and `append`
                may be called again.
            InvalidJob: The file was removed, replaced or changed meanwhile; see `check`.
        """
        self.check()
        try:
            _write(self._fd, data)
            os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
                os.lseek(self._fd, self.size, os.SEEK_SET)
            raise not_written(error, self.path) from None
        self.size += len(data)
        return self.size

    def check(self) -> None:
        """Check that what was appended is still in the file of this name.

        Raises:
            InvalidJob: Somebody removed, replaced or changed the file.
        """
        here = os.fstat(self._fd)
        try:
            there = self.path.stat()
        except OSError:
            raise _lost(self.path, "was removed") from None
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            raise _lost(self.path, "was replaced")
        if here.st_size < self.size:
            raise _lost(self.path, "was cut")
        if here.st_size > self.size:
            raise _lost(self.path, "got other bytes", "save them, then resume: that cuts them off")

    def finish(self) -> None:
        """Check the file and close it; a second call does nothing. Raises what `check` raises."""
        if not self.closed:
            self.check()
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise being_written(self.path) from None
        except OSError:  # a file system without locks
            return

    def _cut(self, resume_at: int | None) -> None:
        size = os.fstat(self._fd).st_size
        if resume_at is not None and size < resume_at:
            raise InvalidJob(
                f"has {size:,} of the {resume_at:,} bytes that were written: it was cut or "
                f"replaced; {_BEGIN_AGAIN}",
                field=shown(self.path),
            )
        with writable(self.path):
            os.ftruncate(self._fd, self.size)
            os.lseek(self._fd, self.size, os.SEEK_SET)
            os.fsync(self._fd)
            sync_folder(self.path)


def is_being_written(path: Path) -> bool:
    """Return whether a process of this machine appends to a file."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(fd)
    return False


def _flags(resume_at: int | None, *, overwrite: bool) -> int:
    if resume_at:
        return os.O_RDWR
    return os.O_RDWR | os.O_CREAT | (0 if overwrite or resume_at == 0 else os.O_EXCL)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_folder(path: Path) -> None:
    """Make durable that a file exists under its name. Raises `OSError`."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the file that is to be written.

    Raises:
        InvalidJob: The file exists or cannot be made.
        Unavailable: The disk is full.
    """
    try:
        yield
    except FileExistsError:
        raise exists(path) from None
    except OSError as error:
        if error.errno in _FULL:
            raise not_written(error, path) from None
        reason = os.strerror(error.errno) if error.errno else "failed"
        raise InvalidJob(f"cannot be written: {reason}", field=shown(path)) from None
    except ValueError:  # a null byte, or a character that no file system can encode
        raise InvalidJob("is not a valid file name", field=shown(path)) from None


def exists(path: Path) -> InvalidJob:
    """Return the error about an output that is there already."""
    return InvalidJob("exists already: resume its bulk, or overwrite it", field=shown(path))


def being_written(path: Path) -> InvalidJob:
    """Return the error about an output that another process writes."""
    return InvalidJob(
        "is being written by another process: choose another name, or end that process",
        field=shown(path),
    )


def _lost(path: Path, how: str, fix: str = _BEGIN_AGAIN) -> InvalidJob:
    return InvalidJob(f"{how} while it was written: {fix}", field=shown(path))


def not_written(error: OSError, path: Path) -> ForebayError:
    """Return the error about a disk that is full or fails."""
    reason = os.strerror(error.errno) if error.errno else "failed"
    fix = "free some space and resume" if error.errno in _FULL else "mend it and resume"
    return Unavailable(f"cannot be written: {reason}; {fix}", field=shown(path))
