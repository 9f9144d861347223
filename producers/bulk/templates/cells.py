"""The values of single cells: text for a prompt, a key, an egress."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from forebay.producers.bulk.names import nearest, shown
from forebay.routing.base import Egress

#: A longer key is refused.
MAX_KEY_CHARS = 200
MAX_MODEL_CHARS = 200


class BadCell(Exception):  # a signal inside this package; a row that has one becomes a BadRow
    """A cell of a row is wrong.

    Args:
        column: the cell's column; `None` if the row as a whole is wrong.
        reason: what is wrong and how to correct it.
    """

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


def cell(fields: dict[str, Any], column: str) -> Any:
    """Return the value of a column. Raises `BadCell` if there is none."""
    try:
        value = fields[column]
    except KeyError:
        raise BadCell(column, _no_column(column, tuple(fields))) from None
    if value is None:
        raise BadCell(column, "is null: give it a value")
    return value


@lru_cache(maxsize=256)
def _no_column(column: str, columns: tuple[str, ...]) -> str:
    return f"the row has no column {shown(column)!r}; {nearest(column, columns)}"


def text_of(fields: dict[str, Any], column: str) -> str:
    """Return the value of a column as a prompt holds it: texts as they are, the rest as JSON.

    Raises:
        BadCell: There is no value, or JSON has no form for it.
    """
    value = cell(fields, column)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _decoded(value, column)
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise BadCell(column, "is not a finite number: give it a number or a text")
    try:
        text = to_json(value, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        raise BadCell(column, f"is {type(value).__name__}, which has no form as text") from None
    return text[1:-1] if text.startswith('"') else text


def _decoded(value: bytes, column: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadCell(column, "is not UTF-8 text") from None


def key_of(fields: dict[str, Any], column: str) -> str:
    """Return the key of a row. Raises `BadCell` if it is no short text and no whole number."""
    value = cell(fields, column)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadCell(column, "must be text or a whole number, because it is the row's key")
    if not 0 < len(value) <= MAX_KEY_CHARS:
        raise BadCell(column, f"must have 1 to {MAX_KEY_CHARS} characters: it is the row's key")
    return value


def model_of(fields: dict[str, Any], column: str) -> str | None:
    """Return the local model that a row names. Raises `BadCell` if it is no name of a model."""
    value = fields.get(column)
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_MODEL_CHARS):
        return value
    raise BadCell(column, f"must be a model's name of 1 to {MAX_MODEL_CHARS} characters")


def egress_of(fields: dict[str, Any], column: str) -> Egress:
    """Return the egress of a row; a row that has none may not leave.

    Raises:
        BadCell: The cell holds anything but `deny` or `allow`.
    """
    value = fields.get(column)
    if value == "allow":
        return "allow"
    if value is None or value in ("", "deny"):
        return "deny"
    raise BadCell(column, "must be deny or allow")
