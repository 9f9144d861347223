"""Reads Parquet in constant memory, with pyarrow (extra `parquet`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from forebay.producers.bulk.names import check_header, shown
from forebay.producers.bulk.rows import START, BadRow, Position, RawRow
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.streams import fingerprint
from forebay.producers.bulk.streams.fingerprint import Fingerprint
from forebay.producers.bulk.streams.inputs import readable
from forebay.routing.errors import InvalidJob

#: How much of the decoded file is in memory at once, as far as its footer tells, and how many rows.
BATCH_BYTES = 4 * 1024 * 1024
MAX_BATCH_ROWS = 1_024

#: How much of each column is read from the file at a time.
BUFFER_BYTES = 1 << 18

_UNREADABLE = (UnicodeDecodeError, OverflowError, ValueError)


class RowGroup(NamedTuple):
    """A row group of a file, as its footer describes it.

    Attributes:
        number: which row group this is, from 0.
        first: how many rows are before it.
        rows: how many rows it has.
        offset: how many bytes are before it, before compression.
        size: how many bytes it has, before compression.
    """

    number: int
    first: int
    rows: int
    offset: int
    size: int

    def end_of(self, row: int) -> Position:
        """Return the position after a row, as if all rows of the group had the same size."""
        return Position(self.offset + (row - self.first) * self.size // self.rows, row, row)

    @property
    def batch_rows(self) -> int:
        """How many of its rows are decoded at once."""
        return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * self.rows // max(1, self.size)))


class ParquetSource(Source):
    """The rows of a Parquet file. Reading from a position on skips whole row groups."""

    def __init__(self, path: Path) -> None:
        super().__init__(shown(path))
        self._path = path
        self._size: int | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        with self._opened() as file:
            return self._names(file)

    def rows(
        self, start: Position = START, *, columns: Collection[str] | None = None
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows after a position."""
        with self._opened() as file:
            names = self._names(file)
            wanted = [name for name in names if columns is None or name in columns]
            if not file.metadata.num_rows:
                raise InvalidJob("has no rows: it must have at least one", field=self.name)
            for group in _row_groups(file):
                if group.first + group.rows > start.row:
                    yield from self._group(file, group, wanted, max(start.row, group.first))

    def size(self) -> int:
        """Return how many bytes the rows have before compression."""
        if self._size is None:
            with self._opened() as file:
                self._size = sum(group.size for group in _row_groups(file))
        return self._size

    def fingerprint(self) -> Fingerprint:
        """Return size, digest and time of the file."""
        with readable(self.name):
            return fingerprint.of_file(self._path)

    def changed_since(self, then: Fingerprint) -> str | None:
        """Return a sentence that says what changed, or `None`."""
        change = fingerprint.change_of_file(self._path, then)
        return change and f"{self.name} {change}"

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with readable(self.name):
            if not self._path.stat().st_size:
                raise InvalidJob("is empty: it must have at least one row", field=self.name)
            try:
                file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=BUFFER_BYTES)
            except pa.ArrowException:
                raise InvalidJob(
                    "is no Parquet file, or ends in the middle: write or copy it again",
                    field=self.name,
                ) from None
        with file:
            yield file

    def _names(self, file: pq.ParquetFile) -> tuple[str, ...]:
        names = tuple(file.schema_arrow.names)
        check_header(names, file=self.name)
        return names

    def _group(
        self, file: pq.ParquetFile, group: RowGroup, wanted: list[str], after: int
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows of a row group after a row; if it is damaged, the rest of them are bad."""
        number, last = group.first, group.first + group.rows
        try:
            for batch in file.iter_batches(group.batch_rows, [group.number], columns=wanted):
                past = max(0, min(batch.num_rows, after - number))
                yield from self._batch(batch.slice(past), number + past, group)
                number += batch.num_rows
        except (pa.ArrowException, OSError):
            reason = f"the part of the file with rows {group.first + 1:,} to {last:,} is damaged"
            for row in range(max(number, after) + 1, last + 1):
                yield self._bad(row, group, None, reason)

    def _batch(
        self, batch: pa.RecordBatch, before: int, group: RowGroup
    ) -> Iterator[RawRow | BadRow]:
        try:
            found: list[dict[str, Any]] = batch.to_pylist()
        except _UNREADABLE:
            for index in range(batch.num_rows):
                yield self._single(batch.slice(index, 1), before + index + 1, group)
            return
        for number, fields in enumerate(found, start=before + 1):
            yield RawRow(number, number, fields, group.end_of(number))

    def _single(self, row: pa.RecordBatch, number: int, group: RowGroup) -> RawRow | BadRow:
        """Return a row of a batch that has a value which Python cannot hold."""
        fields = {}
        for name, column in zip(row.schema.names, row.columns, strict=True):
            try:
                fields[name] = column[0].as_py()
            except _UNREADABLE as error:
                is_text = isinstance(error, UnicodeDecodeError)
                reason = "is not UTF-8 text" if is_text else "has a value out of range"
                return self._bad(number, group, name, reason)
        return RawRow(number, number, fields, group.end_of(number))

    def _bad(self, number: int, group: RowGroup, column: str | None, reason: str) -> BadRow:
        return BadRow(number, number, column, reason, group.end_of(number), file=self.name)


def _row_groups(file: pq.ParquetFile) -> Iterator[RowGroup]:
    """Yield the row groups that have rows."""
    first = offset = 0
    for index in range(file.num_row_groups):
        meta = file.metadata.row_group(index)
        if meta.num_rows:
            yield RowGroup(index, first, meta.num_rows, offset, meta.total_byte_size)
        first, offset = first + meta.num_rows, offset + meta.total_byte_size
