"""The contract of an output: rows are appended, and a known part survives any crash."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic_core import from_json

ResultRow = Mapping[str, Any]


class JsonLines(NamedTuple):
    """Rows as finished lines of JSON."""

    data: bytes

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return [from_json(line) for line in self.data.splitlines()]


#: Rows of an output: one, or several as lines.
Rows = ResultRow | JsonLines


def each_of(rows: Iterable[Rows]) -> Iterator[ResultRow]:
    """Yield each row by itself."""
    for row in rows:
        if isinstance(row, JsonLines):
            yield from row.rows()
        else:
            yield row


class Output(ABC):
    """A file of rows that a bulk writes.

    1. `append` returns once the rows are on the disk. Opened again with `resume_at` at the size
       that it returned, the output holds exactly these rows.
    2. `finish` gives the file its final form. Until then the rows of some formats are in a file of
       their own beside it.
    3. `close` leaves the output as it is, to be resumed.

    Attributes:
        path: the file that `finish` leaves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def append(self, rows: Iterable[Rows]) -> int:
        """Append rows, and return the size in bytes that is on the disk.

        Raises:
            Unavailable: The disk is full or fails. The output is as it was before the call.
            InvalidJob: The format cannot hold a row; or somebody removed or changed what was
                appended before.
        """

    @abstractmethod
    def finish(self) -> None:
        """Give the file its final form and close it. A second call does nothing.

        Raises:
            Unavailable: The disk is full or fails. `finish` may be called again after a resume.
            InvalidJob: Somebody removed or changed what was appended.
        """

    def replace(self, path: Path) -> None:
        """Give the finished output the place of another one. A crash may leave it half done."""
        self.path.replace(path)

    def discard(self) -> None:
        """Close the output, and remove what was written."""
        self.close()
        self.path.unlink(missing_ok=True)

    @abstractmethod
    def close(self) -> None:
        """Close the output as it is. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
