"""Reads what all rows share from files: labels and a schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.streams.inputs import readable
from forebay.routing.errors import InvalidJob, TooLong

#: A larger file holds nothing that the contract would accept.
MAX_BYTES = 8 * 1024 * 1024


def read_labels(labels: Path | Sequence[Any]) -> Sequence[Any]:
    """Return labels; from a file one name a line, or a JSON array of names or of label objects.

    Raises:
        InvalidJob: The file cannot be read, or holds no labels.
    """
    if not isinstance(labels, Path):
        return labels
    text = _read(labels)
    if text.lstrip().startswith("["):
        found: list[Any] = _parse(text, labels)
        return found
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_schema(schema: Path | Any) -> Any:
    """Return a JSON Schema, also from a file; a pydantic model class is returned as it is.

    Raises:
        InvalidJob: The file cannot be read, or holds no JSON object.
    """
    if not isinstance(schema, Path):
        return schema
    found = _parse(_read(schema), schema)
    if not isinstance(found, dict):
        raise InvalidJob("must hold a JSON Schema, which is an object", field=shown(schema))
    return found


def _read(path: Path) -> str:
    with readable(shown(path)), path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLong(f"must have at most {MAX_BYTES:,} bytes", field=shown(path))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidJob("is not UTF-8 text", field=shown(path)) from None
    if not text.strip():
        raise InvalidJob("is empty", field=shown(path))
    return text


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidJob(f"is not JSON: {error.msg} at {where}", field=shown(path)) from None
    except (RecursionError, ValueError):  # nested too deep; a number of too many digits
        raise InvalidJob("is not JSON that can be read", field=shown(path)) from None
