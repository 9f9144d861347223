"""The contract of a source: rows from any position on, and a fingerprint of the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import ClassVar, Self

from forebay.producers.bulk.rows import START, BadRow, Position, RawRow
from forebay.producers.bulk.streams.fingerprint import Fingerprint


class Source(ABC):
    """The rows of one input.

    1. `rows` yields each row once, in order, in constant memory; a bad row never stops the rest.
    2. Reading from the `end` of a row goes on with the row after it, also in another process.
    3. `fingerprint` and `changed_since` tell whether a later process reads the same input.

    Attributes:
        name: how errors name the input.
        key_column: the column that names a row best, if the format has such a column.
        fixed_columns: all rows have the same columns.
    """

    key_column: ClassVar[str | None] = None
    fixed_columns: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def rereading(self) -> float | None:
        """How much of what an earlier process read has come again; `None` if nothing has to."""
        return None

    @abstractmethod
    def columns(self) -> tuple[str, ...] | None:
        """Return the names of the columns; `None` if they are not known before rows are read.

        Raises:
            InvalidJob: The input is empty, or is no file of its format.
        """

    @abstractmethod
    def rows(
        self, start: Position = START, *, columns: Collection[str] | None = None
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows after a position.

        Args:
            start: the `end` of an earlier row.
            columns: the columns that are needed; a format that stores columns apart reads only
                these.

        Raises:
            InvalidJob: The input is empty, cannot be read, or is no file of its format.
        """

    def file_of(self, row: RawRow) -> str:  # noqa: ARG002 - most sources are one file
        """Return how errors name the file that a row is in."""
        return self.name

    @abstractmethod
    def size(self) -> int:
        """Return where reading ends, in the unit of `Position.offset`, so that a share is known."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """Return size, digest and time of the whole input. This reads all of it.

        Raises:
            InvalidJob: The input cannot be read.
        """

    @abstractmethod
    def changed_since(self, then: Fingerprint) -> str | None:
        """Return a sentence that says what changed, or `None` if the content is the same.

        Nothing is read if size and time are the same.
        """

    def wait_at_most(self, seconds: float) -> None:  # noqa: B027 - most sources are there already
        """From now on, raise `NotYet` if reading would wait longer for a row of a pipe."""

    def sync(self) -> None:
        """Make durable what was read. Only a source that cannot be read again has to do anything.

        Raises:
            Unavailable: The disk is full.
        """
        return

    def close(self) -> None:
        """Close files that the source keeps open."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
