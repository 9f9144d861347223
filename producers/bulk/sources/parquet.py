"""Reads Parquet in constant memory, with pyarrow (extra `parquet`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class ParquetSource(Source):
    """The rows of a Parquet file. Positions count rows; reading skips whole row groups."""

    def __init__(self, path: Path) -> None:
        super().__init__(shown(path))
        self._path = path

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
            first = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if first + count > start.row:
                    skip = max(0, start.row - first)
                    yield from self._group(file, group, wanted, first=first, skip=skip)
                first += count

    def size(self) -> int:
        """Return how many rows the file has."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

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
        self, file: pq.ParquetFile, group: int, wanted: list[str], *, first: int, skip: int
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows of a row group; if it is damaged, the rest of its rows are bad."""
        meta = file.metadata.row_group(group)
        number = first
        size = max(
            1, min(MAX_BATCH_ROWS, BATCH_BYTES * meta.num_rows // (meta.total_byte_size or 1))
        )
        try:
            batches = file.iter_batches(max(1, size), row_groups=[group], columns=wanted)
            for batch in batches:
                past = max(0, min(batch.num_rows, first + skip - number))
                yield from self._batch(batch.slice(past), number + past)
                number += batch.num_rows
        except (pa.ArrowException, OSError):
            last = first + meta.num_rows
            reason = f"the part of the file with rows {first + 1:,} to {last:,} is damaged"
            for row in range(max(number, first + skip) + 1, last + 1):
                yield self._bad(row, None, reason)

    def _batch(self, batch: pa.RecordBatch, before: int) -> Iterator[RawRow | BadRow]:
        try:
            found: list[dict[str, Any]] = batch.to_pylist()
        except _UNREADABLE:
            for index in range(batch.num_rows):
                yield self._single(batch.slice(index, 1), before + index + 1)
            return
        for number, fields in enumerate(found, start=before + 1):
            yield RawRow(number, number, fields, Position(number, number, number))

    def _single(self, row: pa.RecordBatch, number: int) -> RawRow | BadRow:
        """Return a row of a batch that has a value which Python cannot hold."""
        fields = {}
        for name, column in zip(row.schema.names, row.columns, strict=True):
            try:
                fields[name] = column[0].as_py()
            except _UNREADABLE as error:
                is_text = isinstance(error, UnicodeDecodeError)
                reason = "is not UTF-8 text" if is_text else "has a value out of range"
                return self._bad(number, name, reason)
        return RawRow(number, number, fields, Position(number, number, number))

    def _bad(self, number: int, column: str | None, reason: str) -> BadRow:
        end = Position(number, number, number)
        return BadRow(number, number, column, reason, end, file=self.name)
