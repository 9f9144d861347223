"""Schemas and texts made easier for a small local model. Answers meet the originals in checks.

A small model copies what it sees. So numbers and dates are put as JSON wants them before it reads
them, options that the text does not name are left out, and no string may run on for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.workers.checks.grounding import Source, dates, named_options

MAX_STRING_CHARS = (
    60  # characters of a string that the schema does not bound; a small model runs away in it
)
MAX_LIST_ITEMS = 8  # items of a list, likewise

_BY_NAME = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_INSIDE = ("items", "additionalProperties", "if", "then", "else", "not", "contains")
_STRING_ENDS = ("enum", "const", "maxLength", "pattern", "format")

_COMMAS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])")
_POINTS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.])")


def narrowed(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """A schema that admits less: strings and lists of bounded length, options that the text names.

    Where the text names none of the options, all stay: they may be meant in other words.
    """
    narrow: dict[str, Any] = _narrow(schema, Source(text))
    return narrow


def _narrow(node: Any, source: Source) -> Any:
    if not isinstance(node, dict):
        return node
    out = dict(node)
    for word in _BY_NAME:
        if isinstance(node.get(word), dict):
            out[word] = {name: _narrow(part, source) for name, part in node[word].items()}
    for word in _LISTED:
        if isinstance(node.get(word), list):
            out[word] = [_narrow(part, source) for part in node[word]]
    for word in _INSIDE:
        if word in node:
            out[word] = _narrow(node[word], source)
    return out | _bounds(node) | _options(node, source)


def _bounds(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("type") == "string" and not any(word in node for word in _STRING_ENDS):
        return {"maxLength": max(MAX_STRING_CHARS, node.get("minLength", 0))}
    if node.get("type") == "array" and "maxItems" not in node:
        return {"maxItems": max(MAX_LIST_ITEMS, node.get("minItems", 0))}
    return {}


def _options(node: dict[str, Any], source: Source) -> dict[str, Any]:
    named = named_options(node.get("enum"), source)
    return {"enum": named} if named else {}


def plainly(text: str, schema: dict[str, Any]) -> str:
    """The text with its numbers and dates as JSON writes them, where the schema asks for such."""
    asked = set(_types(schema))
    if "date" in asked:
        text = _with_iso_dates(text)
    if asked & {"number", "integer"}:
        text = _COMMAS.sub(lambda found: found[0].replace(",", ""), text)
        text = _POINTS.sub(lambda found: found[0].replace(".", "").replace(",", "."), text)
    return text


def _with_iso_dates(text: str) -> str:
    """Dates that can mean two days, or have no year, stay as they are."""
    for (start, end), meant in sorted(dates(text), key=lambda found: found[0], reverse=True):
        year, month, day = next(iter(meant))
        if len(meant) == 1 and year is not None:
            text = f"{text[:start]}{year:04}-{month:02}-{day:02}{text[end:]}"
    return text


def field_count(schema: Any) -> int:
    """Roughly how many values an answer has; a list counts as half of its longest."""
    return sum(_weights(schema, 1))


def _weights(node: Any, weight: int) -> Iterator[int]:
    if not isinstance(node, dict):
        return
    parts = [part for word in _BY_NAME for part in _values(node.get(word))]
    parts += [part for word in _LISTED for part in node.get(word) or ()]
    if not parts and "items" not in node:
        yield weight
    for part in parts:
        yield from _weights(part, weight)
    if "items" in node:
        yield from _weights(node["items"], weight * MAX_LIST_ITEMS // 2)


def _values(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else []


def _types(node: Any) -> Iterator[str]:
    """The types and formats that a schema speaks of."""
    if isinstance(node, list):
        for one in node:
            yield from _types(one)
    elif isinstance(node, dict):
        for word in ("type", "format"):
            said = node.get(word)
            yield from [said] if isinstance(said, str) else ()
            yield from (
                (one for one in said if isinstance(one, str)) if isinstance(said, list) else ()
            )
        for value in node.values():
            yield from _types(value)
