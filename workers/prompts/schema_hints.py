"""Schemas and texts made easier for a small local model. Checks use the originals.

A small model copies what it sees. So numbers and dates are rewritten as JSON wants them before the
model reads them, options that the text does not name are left out, and strings get a maximum
length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.routing.json_tree import nodes
from forebay.workers.checks.grounding import Source
from forebay.workers.checks.options import named_options
from forebay.workers.checks.reading.dates import dates

# For strings and lists that the schema does not bound: a small model would go on for ever.
MAX_STRING_CHARS = 60
MAX_LIST_ITEMS = 8

_SCHEMAS_BY_NAME = (
    "properties", "$defs", "definitions", "patternProperties", "dependentSchemas",
)  # fmt: skip
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_SCHEMAS = ("items", "additionalProperties", "if", "then", "else", "not", "contains")
_STRING_BOUNDS = ("enum", "const", "maxLength", "pattern", "format")

_COMMA_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])")
_POINT_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d+(?![\d.])")


def narrowed(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a schema that admits less: bounded strings and lists, and options the text names.

    If the text names none of the options, all stay: the text may use other words for them.
    """
    narrow: dict[str, Any] = _narrow(schema, Source(text))
    return narrow


def _narrow(node: Any, source: Source) -> Any:
    if not isinstance(node, dict):
        return node
    narrow = dict(node)
    for keyword in _SCHEMAS_BY_NAME:
        if isinstance(node.get(keyword), dict):
            narrow[keyword] = {name: _narrow(part, source) for name, part in node[keyword].items()}
    for keyword in _SCHEMA_LISTS:
        if isinstance(node.get(keyword), list):
            narrow[keyword] = [_narrow(part, source) for part in node[keyword]]
    for keyword in _SINGLE_SCHEMAS:
        if keyword in node:
            narrow[keyword] = _narrow(node[keyword], source)
    return narrow | _bounds(node) | _options(node, source)


def _bounds(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("type") == "string" and not any(keyword in node for keyword in _STRING_BOUNDS):
        return {"maxLength": max(MAX_STRING_CHARS, node.get("minLength", 0))}
    if node.get("type") == "array" and "maxItems" not in node:
        return {"maxItems": max(MAX_LIST_ITEMS, node.get("minItems", 0))}
    return {}


def _options(node: dict[str, Any], source: Source) -> dict[str, Any]:
    named = named_options(node.get("enum"), source)
    return {"enum": named} if named else {}


def with_json_values(text: str, schema: dict[str, Any]) -> str:
    """Return the text with numbers and dates as JSON writes them, if the schema has such types."""
    types = set(_types_and_formats(schema))
    if "date" in types:
        text = _with_iso_dates(text)
    if types & {"number", "integer"}:
        text = _COMMA_GROUPS.sub(lambda match: match[0].replace(",", ""), text)
        text = _POINT_GROUPS.sub(lambda match: match[0].replace(".", "").replace(",", "."), text)
    return text


def _with_iso_dates(text: str) -> str:
    """Return the text with ISO dates. Dates that are ambiguous or have no year stay."""
    parts, read = [], 0
    for (start, end), meanings in sorted(dates(text), key=lambda date: date[0]):
        year, month, day = next(iter(meanings))
        if len(meanings) == 1 and year is not None and start >= read:
            parts += [text[read:start], f"{year:04}-{month:02}-{day:02}"]
            read = end
    return "".join([*parts, text[read:]])


def field_count(schema: Any) -> int:
    """Return roughly how many values an answer has; a list counts as half of `MAX_LIST_ITEMS`."""
    return sum(_field_weights(schema, 1))


def _field_weights(node: Any, weight: int) -> Iterator[int]:
    if not isinstance(node, dict):
        return
    parts = [part for keyword in _SCHEMAS_BY_NAME for part in _dict_values(node.get(keyword))]
    parts += [part for keyword in _SCHEMA_LISTS for part in node.get(keyword) or ()]
    if not parts and "items" not in node:
        yield weight
    for part in parts:
        yield from _field_weights(part, weight)
    if "items" in node:
        yield from _field_weights(node["items"], weight * MAX_LIST_ITEMS // 2)


def _dict_values(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else []


def _types_and_formats(schema: Any) -> Iterator[str]:
    """Yield every type and format that a schema mentions, at any depth."""
    for node in nodes(schema):
        if isinstance(node, dict):
            for value in (node.get("type"), node.get("format")):
                names = value if isinstance(value, list) else [value]
                yield from (name for name in names if isinstance(name, str))
