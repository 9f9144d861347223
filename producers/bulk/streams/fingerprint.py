"""Tells whether an input is still the one that a bulk began with, and what has changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from forebay.routing.errors import counted

#: How much of a file is digested at a time.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Fingerprint:
    """What an input was like when its bulk began. `dataclasses.asdict` makes it JSON.

    Attributes:
        size: bytes of the file, or of all files of a folder.
        digest: SHA-256 of the content as hexadecimal digits; of a folder, of names and contents.
        modified_ns: the latest change, in nanoseconds since 1970, as the file system tells it.
        files: how many files there are; 1 unless the input is a folder.
        listing: of a folder, SHA-256 of the names, sizes and times of its files.
    """

    size: int
    digest: str
    modified_ns: int
    files: int = 1
    listing: str = ""

    def same_on_disk(self, stat: os.stat_result) -> bool:
        """Return whether size and time are as they were, so that nothing need be digested."""
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.modified_ns)


def of_file(path: Path) -> Fingerprint:
    """Return the fingerprint of a file; this reads all of it. Raises `OSError`."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        return Fingerprint(stat.st_size, digest(file, stat.st_size), stat.st_mtime_ns)


def change_of_file(path: Path, then: Fingerprint) -> str | None:
    """Return how a file differs from what it was, or `None` if its content is the same.

    A file of the same size and time counts as the same. All others are digested.
    """
    try:
        with path.open("rb") as file:
            return _change(file, then)
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno) if error.errno else 'failed'}"


def _change(file: BinaryIO, then: Fingerprint) -> str | None:
    stat = os.fstat(file.fileno())
    if then.same_on_disk(stat):
        return None
    if stat.st_size < then.size:
        return f"was cut from {then.size:,} to {stat.st_size:,} bytes since the bulk began"
    unchanged = digest(file, then.size) == then.digest
    added = stat.st_size - then.size
    more = f"{counted(added, 'byte')} more"
    if unchanged and not added:
        return None
    if unchanged:
        return (
            f"has {more} than the {then.size:,} that it had when the bulk began; those are the same"
        )
    if added:
        return f"has {more} than when the bulk began, and other content before them"
    return f"has other content than when the bulk began, in the same {then.size:,} bytes"


def digest(file: BinaryIO, size: int) -> str:
    """Return the SHA-256 of the next `size` bytes of a file."""
    sha, left = hashlib.sha256(), size
    while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
        sha.update(chunk)
        left -= len(chunk)
    return sha.hexdigest()
