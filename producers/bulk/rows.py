"""The values that flow through a bulk's input: a position, a row as read, a bad row, a request.

They are named tuples because a bulk makes millions of them: a frozen dataclass costs three times as
much to make.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from forebay.routing.base import Egress, Kind


class Position(NamedTuple):
    """A place between two rows of a source, at which reading can go on.

    JSON writes it as a list of three numbers; `Position(*numbers)` reads it back.

    Attributes:
        offset: bytes that were read; of Parquet before compression, as if the rows of a row group
            had the same size.
        row: the number of the last row before this place; 0 at the start.
        line: the number of the last physical line before this place.
    """

    offset: int = 0
    row: int = 0
    line: int = 0


START = Position()


class RawRow(NamedTuple):
    """A row as its source holds it, by column.

    Attributes:
        number: which row of the data this is, from 1. A header is no row.
        line: the physical line on which the row begins, from 1; the row's number if the source has
            no lines.
        fields: the values by column. CSV has texts only; JSON and Parquet have values of any type.
        end: the position after the row.
    """

    number: int
    line: int
    fields: dict[str, Any]
    end: Position


class BadRow(NamedTuple):
    """A row that cannot be a request, and why. It never stops the rows after it.

    Attributes:
        number: which row of the data this is, from 1.
        line: the physical line on which the row begins, from 1.
        column: the name of the wrong column; or where the row cannot be split into columns, the
            character of the line, from 1. `None` if the whole row is wrong.
        reason: what is wrong and how to correct it, in one sentence without the row's values.
        end: the position after the row.
        key: the row's key, if it has one that could be read.
        file: the file that the row is in.
        fields: what could be read of the row, from which its key may be known.
    """

    number: int
    line: int
    column: str | int | None
    reason: str
    end: Position
    key: str | None = None
    file: str = ""
    fields: dict[str, Any] | None = None

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column}"
        return f"{self.file}, line {self.line}{column}: {self.reason}"


class TemplatedRow(NamedTuple):
    """A row as a valid request: `common | varying` are the request's fields.

    Attributes:
        number: which row of the data this is, from 1.
        line: the physical line on which the row begins, from 1.
        kind: the kind of the request.
        egress: whether the content of the row may leave the building.
        key: the row's key, or `None`; the template names its column.
        common: the fields that the row shares with others. Rows of one template, and most rows with
            equal `common`, have the same object.
        varying: the fields of this row alone.
        end: the position after the row.
        model: the only local model that may answer the row, if it names one.
    """

    number: int
    line: int
    kind: Kind
    egress: Egress
    key: str | None
    common: dict[str, Any]
    varying: dict[str, Any]
    end: Position
    model: str | None = None
