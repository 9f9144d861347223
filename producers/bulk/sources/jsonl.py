"""Reads JSON Lines: one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import from_json

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.rows import START, BadRow, Position, RawRow
from forebay.producers.bulk.sources.text import TextSource
from forebay.producers.bulk.streams.inputs import Input
from forebay.producers.bulk.streams.lines import (
    BOM,
    HAS_NUL,
    NOT_UTF_8,
    TOO_LONG,
    Line,
    check_is_text,
    lines,
)
from forebay.routing.errors import InvalidJob
from forebay.routing.json_tree import RepeatedName, unique

#: How many rows are read to learn the names of the columns.
ROWS_LOOKED_AT = 100

_PLACE = re.compile(r" at line 1 column (\d+)$")
_KEY_APART = re.compile(rb'"\s+:')


class JsonlSource(TextSource):
    """One JSON object a line. Blank lines are skipped.

    Args:
        content: where the bytes come from.
        may_be_empty: see `TextSource`.
        guessed: nobody named the format, and no name tells it.
    """

    fixed_columns = False

    def __init__(
        self, content: Input, *, may_be_empty: bool = False, guessed: bool = False
    ) -> None:
        super().__init__(content, may_be_empty=may_be_empty)
        self._guessed = guessed

    def columns(self) -> tuple[str, ...] | None:
        """Return the names that the first rows have; `None` if none is known yet."""
        if self.still_comes:
            return None
        names: dict[str, None] = {}
        for row in islice(self.rows(), ROWS_LOOKED_AT):
            if isinstance(row, RawRow):
                names |= dict.fromkeys(row.fields)
        return tuple(names) or None

    def rows(
        self,
        start: Position = START,
        *,
        columns: Collection[str] | None = None,  # noqa: ARG002 - a line is read as a whole
    ) -> Iterator[RawRow | BadRow]:
        """Yield the rows after a position."""
        number = start.row
        with self.opened(start.offset) as stream:
            for line in lines(stream, offset=start.offset, number=start.line, until=self.until):
                if line.data is not None and not line.data.strip():
                    continue
                number += 1
                end = Position(line.end, number, line.number)
                fields = self._read(line)
                if type(fields) is dict:
                    yield RawRow(number, line.number, fields, end)
                else:
                    column, reason = fields
                    yield BadRow(number, line.number, column, reason, end, file=self.name)
        self.check_has_rows(number)

    def check_head(self, head: bytes) -> None:
        """Check the first bytes. Raises `InvalidJob`."""
        check_is_text(head, name=self.name)
        if head.removeprefix(BOM).lstrip().startswith(b"["):
            raise InvalidJob(
                "holds a JSON array: write one object a line, as `jq -c '.[]'` does",
                field=self.name,
            )
        if head.removeprefix(BOM).strip() == b"{":
            raise InvalidJob(
                "holds an object over several lines: write one object a line, as `jq -c .` does",
                field=self.name,
            )

        first = head.removeprefix(BOM).lstrip()
        if self._guessed and first and not first.startswith(b"{"):
            raise InvalidJob(
                "does not begin with a JSON object: give the format of its rows, jsonl, csv or tsv",
                field=self.name,
            )

    def _read(self, line: Line) -> dict[str, Any] | Mistake:
        return Mistake(None, TOO_LONG) if line.data is None else read_object(line.data)


class Mistake(NamedTuple):
    """Where a line is wrong, and what is wrong there."""

    column: str | int | None
    reason: str


def read_object(data: bytes) -> dict[str, Any] | Mistake:
    """Return the JSON object that a line holds, or what is wrong with the line."""
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError:
        return _mistake(data.rstrip())
    if type(value) is not dict:
        return Mistake(None, f"is a JSON {_json_type(value)}; a row must be a JSON object")
    colons = data.count(b":")
    if colons != len(value) and (data.count(b'":') != len(value) or _KEY_APART.search(data)):
        return _repeated_name(data) or value
    return value


def _mistake(data: bytes) -> Mistake:
    """Return what is wrong with a line that is no JSON; its column counts bytes."""
    try:
        data.decode()
        from_json(data, allow_inf_nan=False)
    except UnicodeDecodeError as error:
        return Mistake(error.start + 1, NOT_UTF_8)
    except ValueError as error:
        message = str(error)
    if b"\0" in data:
        return Mistake(data.index(b"\0") + 1, HAS_NUL)
    found = _PLACE.search(message)
    place = int(found[1]) if found else None
    wrong = _PLACE.sub("", message).replace("EOF while parsing", "the line ends inside")
    wrong = wrong.replace("expected ident", "expected value")
    if place and data[place - 1 :].startswith((b"NaN", b"Infinity")):
        wrong = "NaN and Infinity are no JSON numbers"
    if wrong == "recursion limit exceeded":
        wrong = "the objects and arrays are nested too deep"
    return Mistake(place, f"is not a JSON object: {wrong}")


def _json_type(value: object) -> str:
    names = {str: "string", list: "array", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _repeated_name(data: bytes) -> Mistake | None:
    """Return the mistake if a name occurs twice in the object, or in an object inside it."""
    try:
        json.loads(data, object_pairs_hook=unique)
    except RepeatedName as error:
        return Mistake(shown(error.name), "occurs twice in the object: remove one of the two")
    return None
