"""JSON Schemas that Bedrock refuses for structured output, as far as that is known beforehand.

Such a schema is asked for in the prompt's words instead, and the checks of the answer hold it. A
schema that is refused for a reason that is not listed here costs one free call more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.routing.json_tree import subschemas

MAX_UNIONS = 16
MAX_OPTIONAL = 24  # properties that are not required
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
#: Lookarounds, references back and borders of words, which structured output does not know.
_HARD_PATTERN = re.compile(r"\(\?<?[=!]|\(\?P=|\\[1-9bB]")
_CLASSES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
    "null": (type(None),), "object": (dict,), "array": (list,),
}  # fmt: skip


def is_refused(schema: dict[str, Any]) -> bool:
    """Return whether Bedrock is known to refuse this schema."""
    nodes = [node for _, node in subschemas(schema)]
    unions = sum(_is_union(node) for node in nodes)
    optional = sum(_optional_properties(node) for node in nodes)
    return (
        unions > MAX_UNIONS
        or optional > MAX_OPTIONAL
        or any(map(_is_odd, nodes))
        or _is_recursive(schema)
    )


def _is_union(node: dict[str, Any]) -> bool:
    return isinstance(node.get("type"), list) or "anyOf" in node or "oneOf" in node


def _optional_properties(node: dict[str, Any]) -> int:
    properties = node.get("properties")
    required = node.get("required", [])
    return len(properties.keys() - set(required)) if isinstance(properties, dict) else 0


def _is_odd(node: dict[str, Any]) -> bool:
    """Return whether one subschema alone has an unknown format, a hard pattern or an odd enum."""
    pattern = node.get("pattern")
    hard = isinstance(pattern, str) and _HARD_PATTERN.search(pattern) is not None
    return hard or node.get("format", "date") not in _FORMATS or _has_odd_enum(node)


def _has_odd_enum(node: dict[str, Any]) -> bool:
    """Return whether an option is no scalar, or has not the one declared type of an `enum`."""
    options, declared = node.get("enum"), node.get("type")
    if not isinstance(options, list):
        return False
    if declared is None:
        return any(isinstance(option, list | dict) for option in options)
    return isinstance(declared, list) or not all(
        isinstance(option, _CLASSES.get(declared, ())) for option in options
    )


def _is_recursive(schema: dict[str, Any]) -> bool:
    """Return whether a reference leads to a part that holds the reference."""
    edges = {name: set(_names(part)) for name, part in _definitions(schema).items()}
    if "" in _names(schema):  # the root itself
        return True
    # Definitions that refer to none that is left are taken away; those of a circle stay.
    while free := {name for name, names in edges.items() if not names & edges.keys()}:
        edges = {name: names - free for name, names in edges.items() if name not in free}
    return bool(edges)


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema.get("definitions", {}), **schema.get("$defs", {})}


def _names(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to; empty for its root."""
    for _, node in subschemas(schema):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2].removeprefix("#")
