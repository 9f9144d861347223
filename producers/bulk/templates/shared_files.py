"""Reads what all rows share from files: labels and a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.streams.inputs import readable
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.json_tree import read_json

#: Between fewer labels there is nothing to choose.
MIN_LABELS = 2

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
    if text.lstrip().startswith(("[", "{")):
        found = read_json(text, field=shown(labels))
        if not isinstance(found, list):
            raise InvalidJob("must hold one label a line, or a JSON array", field=shown(labels))
        names = [each.get("name") if isinstance(each, dict) else each for each in found]
        _check_labels(labels, "item", dict(enumerate(names, start=1)))
        return found
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1)}
    named = {number: line for number, line in lines.items() if line}
    _check_labels(labels, "line", named)
    return list(named.values())


def _check_labels(path: Path, unit: str, labels: Mapping[int, Any]) -> None:
    """Check the labels of a file by their lines, or by their places in its array.

    Raises:
        InvalidJob: A label is no text, empty or repeats another, or there is only one.
    """
    seen: dict[str, int] = {}
    for place, label in labels.items():
        where = f"{unit} {place}"
        if not isinstance(label, str) or not label.strip():
            raise InvalidJob(f"{where} must be text that is not empty", field=shown(path))
        first = seen.setdefault(label.strip().casefold(), place)
        if first != place:
            wrong = f"{where} repeats the label of {unit} {first}: remove one of them"
            raise InvalidJob(wrong, field=shown(path))
    if len(seen) < MIN_LABELS:
        raise InvalidJob("has only one label: it must have at least two", field=shown(path))


def read_schema(schema: Path | Any) -> Any:
    """Return a JSON Schema, also from a file; a pydantic model class is returned as it is.

    Raises:
        InvalidJob: The file cannot be read, or holds no JSON object.
    """
    if not isinstance(schema, Path):
        return schema
    found = read_json(_read(schema), field=shown(schema))
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
        raise InvalidJob("is not UTF-8 text: save it as UTF-8", field=shown(path)) from None
    if not text.strip():
        raise InvalidJob("is empty: it must hold what all rows share", field=shown(path))
    return text
