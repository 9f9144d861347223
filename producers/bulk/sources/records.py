"""Splits lines into the records of CSV, and finds back into step after a broken record."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from forebay.producers.bulk.streams.lines import HAS_NUL, MAX_ROW_BYTES, NOT_UTF_8, TOO_LONG, Line

_QUOTES = {
    "unexpected end of data": "opens a quote that is never closed: close it, or double it",
    "expected after": "has a quote inside a quoted cell: double it",
    "new-line character": "has a carriage return in a cell: put the cell in quotes",
}


class Record(NamedTuple):
    """A record, of one physical line or of several if a quoted cell holds line breaks.

    Attributes:
        first: the number of its first line.
        last: the number of its last line.
        end: the offset of the byte after it.
        cells: its cells; `None` if it cannot be split.
        mistake: what is wrong with it, or empty.
    """

    first: int
    last: int
    end: int
    cells: list[str] | None
    mistake: str = ""


class Records:
    """The records of a stream of lines.

    A record that is never closed, has a wrong quote or is too long costs its first line only:
    splitting goes on at its second line, so that a stray quote does not take other rows along.
    """

    def __init__(self, lines: Iterator[Line], delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._again: deque[Line] = deque()  # lines of a broken record, to be split once more
        self._taken: list[Line] = []  # the lines of the record that is being split
        self._mistake = ""
        # The limit holds for the whole process, so it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))

    def __iter__(self) -> Iterator[Record]:
        more = True
        while more:
            try:
                yield from self._split()
                more = False
            except (csv.Error, _TooLong) as error:
                yield self._first_line_of_broken(str(error))

    def _split(self) -> Iterator[Record]:
        """Yield records up to the end, or up to a broken one. Raises `csv.Error` or `_TooLong`."""
        for cells in csv.reader(self._texts(), delimiter=self._delimiter, strict=True):
            taken, self._taken = self._taken, []
            mistake, self._mistake = self._mistake, ""
            if cells:
                last = taken[-1]
                yield Record(taken[0].number, last.number, last.end, cells, mistake)

    def _texts(self) -> Iterator[str]:
        """Yield lines as text, and note which of them the present record is made of."""
        again, lines, size = self._again, self._lines, 0
        while (line := again.popleft() if again else next(lines, None)) is not None:
            taken = self._taken
            size = 0 if not taken else size
            taken.append(line)
            data = line.data
            if data is None or (size := size + len(data)) > MAX_ROW_BYTES:
                raise _TooLong(TOO_LONG)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._mistake = NOT_UTF_8
                text = data.decode(errors="surrogateescape")
            if "\0" in text:
                self._mistake = HAS_NUL
            yield text

    def _first_line_of_broken(self, error: str) -> Record:
        first, *rest = self._taken
        self._taken, self._mistake = [], ""
        self._again.extendleft(reversed(rest))
        reason = next((said for part, said in _QUOTES.items() if part in error), error)
        if rest and isinstance(first.data, bytes) and "longer" in error:
            reason = _QUOTES["unexpected end of data"]
        return Record(first.number, first.number, first.end, None, reason)


class _TooLong(Exception):  # a signal inside this file
    """The record in hand is longer than a row may be."""
