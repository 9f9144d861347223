"""Reads CSV and TSV with a header."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import BinaryIO, NamedTuple

from forebay.producers.bulk.names import check_header
from forebay.producers.bulk.rows import START, BadRow, Position, RawRow
from forebay.producers.bulk.sources.records import Record, Records
from forebay.producers.bulk.sources.text import TextSource
from forebay.producers.bulk.streams.inputs import Input
from forebay.producers.bulk.streams.lines import check_is_text, lines
from forebay.routing.errors import InvalidJob, counted

_BOM = "\ufeff"
_REPEATED = "repeats the header: remove the line"


class Header(NamedTuple):
    """The first record of a file.

    Attributes:
        names: the names of all columns, without spaces around them; empty if a column has none.
        end: the position after the header.
        delimiter: what separates cells.
    """

    names: tuple[str, ...]
    end: Position
    delimiter: str


class DelimitedSource(TextSource):
    """Cells in lines, with the names of the columns in the first line that is not blank.

    Cells may be quoted, and may then hold delimiters and line breaks; a quote in them is doubled.
    Blank lines are skipped. A column without a name is not read.

    Args:
        content: where the bytes come from.
        delimiters: what may separate cells; the first that the header holds does.
    """

    def __init__(self, content: Input, delimiters: str) -> None:
        super().__init__(content)
        self._delimiters = delimiters
        self._header: Header | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns. Raises `InvalidJob` if the header is wrong."""
        return tuple(name for name in self._read_header().names if name)

    def rows(
        self,
        start: Position = START,
        *,
        columns: Collection[str] | None = None,  # noqa: ARG002 - a line is split as a whole
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows after a position."""
        header = self._read_header()
        start = start if start.row else header.end
        number = start.row
        with self.opened(start.offset) as stream:
            for record in _records(stream, start, header.delimiter, self.until):
                number += 1
                yield self._row(record, number, header)
        self.check_has_rows(number)

    def check_head(self, head: bytes) -> None:
        """Check the first bytes. Raises `InvalidJob`."""
        check_is_text(head, name=self.name)

    def _row(self, record: Record, number: int, header: Header) -> RawRow | BadRow:
        end = Position(record.end, number, record.last)
        cells, names = record.cells, header.names
        wrong = _wrong(record, names)
        if cells is not None and wrong is None:
            return RawRow(number, record.first, _fields(names, cells), end)
        column, reason = wrong or (None, "")
        fields = None if reason == _REPEATED else dict(zip(names, cells or (), strict=False))
        return BadRow(number, record.first, column, reason, end, file=self.name, fields=fields)

    def _read_header(self) -> Header:
        if self._header is None:
            with self.opened(0) as stream:
                delimiter = self._delimiter(stream)
            with self.opened(0) as stream:
                record = next(iter(_records(stream, START, delimiter)), None)
            self._header = self._header_of(record, delimiter)
        return self._header

    def _delimiter(self, stream: BinaryIO) -> str:
        """Return the first of the delimiters that the first line with text holds."""
        for line in lines(stream, offset=0, number=0):
            if line.data is None or line.data.strip():
                text = (line.data or b"").decode(errors="replace")
                return next((mark for mark in self._delimiters if mark in text), ",")
        return ","

    def _header_of(self, record: Record | None, delimiter: str) -> Header:
        if record is None:
            raise InvalidJob("has no header: the first line must name the columns", field=self.name)
        place = f"line {record.first}, the header,"
        if record.cells is None or record.mistake:
            raise InvalidJob(f"{place} {record.mistake}", field=self.name)
        names = _like_names(record.cells)
        if names[0].lower().startswith("sep=") and not any(names[1:]):
            raise InvalidJob(f"{place} is Excel's 'sep=': remove that line", field=self.name)
        check_header(names, file=self.name)
        return Header(names, Position(record.end, 0, record.last), delimiter)


def _records(
    stream: BinaryIO, start: Position, delimiter: str, until: float = math.inf
) -> Iterator[Record]:
    found = lines(stream, offset=start.offset, number=start.line, until=until)
    return iter(Records(found, delimiter))


def _wrong(record: Record, names: tuple[str, ...]) -> tuple[str | None, str] | None:
    """Return the column and the reason if a record is no row, or `None`."""
    cells = record.cells
    if cells is None:
        return None, record.mistake
    if record.mistake:
        return _column_of(cells, names), record.mistake
    if len(cells) != len(names):
        return None, _ragged(record, len(cells), len(names))
    if cells[-1].strip() == names[-1] and _like_names(cells) == names:
        return None, _REPEATED
    return None


def _like_names(cells: list[str]) -> tuple[str, ...]:
    """Return the cells as the names of a header are kept; joined files may have a second BOM."""
    return tuple(cell.removeprefix(_BOM).strip() for cell in cells)


def _fields(names: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    fields = dict(zip(names, cells, strict=True))
    fields.pop("", None)
    return fields


def _column_of(cells: list[str], names: tuple[str, ...]) -> str | None:
    """Return the column of the first cell with a NUL or with bytes that are not UTF-8."""
    for name, cell in zip(names, cells, strict=False):
        if "\0" in cell or any("\udc80" <= char <= "\udcff" for char in cell):
            return name or None
    return None


def _ragged(record: Record, cells: int, columns: int) -> str:
    where = f" (lines {record.first} to {record.last})" if record.last > record.first else ""
    more = "put a cell that holds a delimiter in quotes"
    fix = "add what is missing" if cells < columns else more
    return f"has {counted(cells, 'cell')}{where}, but the header has {columns} columns: {fix}"
