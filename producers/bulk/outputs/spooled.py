"""Writes formats that cannot be appended to: rows wait in a spool until the file is made of it."""

from __future__ import annotations

import base64
import os
import sys
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.outputs.durable_file import (
    DurableFile,
    exists,
    not_written,
    sync_folder,
)
from forebay.producers.bulk.outputs.output import Output, ResultRow, Rows, each_of
from forebay.routing.errors import InvalidJob

#: The end of the spool's name, and of the file's name while it is made of the spool.
PART, UNFINISHED = ".part", ".unfinished"

#: The fields of an embedding in the spool: one vector, or several.
ONE_VECTOR, VECTORS = "float32", "float32s"


class SpooledOutput(Output):
    """Rows in a spool, `<path>.part`, until `finish` makes the file of them in constant memory.

    Args:
        path: the file.
        columns: the columns of the rows.
        resume_at: see `open_output`; it counts bytes of the spool. If the file is finished and
            has no spool any more, nothing can be appended.
        overwrite: see `open_output`. The old file stays until the new one is finished.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], *, resume_at: int | None, overwrite: bool
    ) -> None:
        super().__init__(path)
        self._columns = tuple(columns)
        self._spool_path = path.with_name(path.name + PART)
        self._spool: DurableFile | None = None
        if resume_at is not None and path.exists() and not self._spool_path.exists():
            return
        if resume_at is None and path.exists() and not overwrite:
            raise exists(path)
        self._spool = DurableFile(self._spool_path, resume_at=resume_at, overwrite=overwrite)

    def append(self, rows: Iterable[Rows]) -> int:
        """Append rows to the spool, and return its size on the disk."""
        if self._spool is None:
            raise InvalidJob("is finished: nothing can be appended", field=shown(self.path))
        return self._spool.append(b"".join([self._line(row) for row in each_of(rows)]))

    def finish(self) -> None:
        """Make the file of the spool, and remove the spool."""
        if self._spool is None:
            return
        self._spool.check()
        new = self.path.with_name(self.path.name + UNFINISHED)
        try:
            self.convert(new)
            self.publish(new)
            sync_folder(self.path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise not_written(error, self.path) from None
        self._spool_path.unlink(missing_ok=True)
        self.close()
        self._spool = None

    def close(self) -> None:
        """Close the spool."""
        if self._spool is not None:
            self._spool.close()

    def discard(self) -> None:
        """Close the spool and remove it. A file that was to be overwritten stays."""
        self.close()
        self._spool_path.unlink(missing_ok=True)

    @abstractmethod
    def convert(self, new: Path) -> None:
        """Write the rows of the spool to a new file, and make it durable. May raise `OSError`."""

    def publish(self, new: Path) -> None:
        """Give the new file its name. May raise `OSError`."""
        new.replace(self.path)

    def spooled_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the spool; vectors are packed."""
        for line in self.spooled_lines():
            yield from_json(line)

    def spooled_lines(self) -> Iterator[bytes]:
        """Yield the lines of the spool."""
        size = self._spool.size if self._spool else 0
        with self._spool_path.open("rb") as file:
            while file.tell() < size:
                yield file.readline()

    def _line(self, row: ResultRow) -> bytes:
        fields = {name: row.get(name) for name in self._columns}
        answer = row.get("answer")
        if isinstance(answer, Mapping) and "vectors" in answer:
            packed = [packed_vector(vector) for vector in answer["vectors"]]
            one = len(packed) == 1
            fields["answer"] = {ONE_VECTOR: packed[0]} if one else {VECTORS: packed}
        return to_json(fields, inf_nan_mode="null") + b"\n"


def packed_vector(vector: Sequence[float]) -> str:
    """Return a vector as base64 of little-endian 32-bit numbers."""
    return base64.b64encode(_little_endian(array("f", vector)).tobytes()).decode()


def unpacked_vector(text: str) -> array[float]:
    """Return the vector that `packed_vector` packed."""
    vector = array("f")
    vector.frombytes(base64.b64decode(text))
    return _little_endian(vector)


def _little_endian(vector: array[float]) -> array[float]:
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def make_durable(path: Path) -> None:
    """Write a file's content to the disk. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
