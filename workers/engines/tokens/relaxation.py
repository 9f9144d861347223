"""Relax a JSON Schema to the part that a grammar can enforce.

Whatever the original admits, a relaxed constraint admits as well; checks of the answer hold the
original afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.routing.json_tree import map_schema, subschemas
from forebay.workers.engines.tokens.patterns import relaxed_pattern

#: Keywords that llguidance does not implement.
_UNKNOWN_KEYWORDS = frozenset(
    {
        "uniqueItems", "if", "then", "else", "not", "contains", "minContains", "maxContains",
        "propertyNames", "dependentRequired", "dependentSchemas", "unevaluatedProperties",
        "unevaluatedItems", "$dynamicRef",
    }
)  # fmt: skip
#: Formats that every build of llguidance enforces.
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
#: Values with which a keyword demands nothing.
_IDLE_VALUES = {"uniqueItems": False, "unevaluatedItems": True, "unevaluatedProperties": True}
_NO_VALUE = object()
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MAX_BOUND = 2**53  # ranges of larger numbers make grammars that do not compile
#: Keywords that say which values there are, without saying anything about the values.
_SHAPE = frozenset(
    {
        "type", "properties", "required", "items", "prefixItems", "anyOf", "enum", "const",
        "additionalProperties", "$ref", "$defs", "definitions", "$anchor",
    }
)  # fmt: skip


def without_idle_keywords(schema: Any) -> Any:
    """Return the schema without keywords that a grammar does not know and that demand nothing."""
    return map_schema(
        schema,
        lambda node: {k: v for k, v in node.items() if _IDLE_VALUES.get(k, _NO_VALUE) is not v},
    )


def relaxed(schema: Any) -> Any:
    """Return the schema without the keywords that a grammar cannot enforce."""
    return map_schema(schema, _relaxed_node)


def shape(schema: Any) -> Any:
    """Return the schema with types, names and options alone, without any limit on the values."""
    return map_schema(relaxed(schema), lambda node: {k: node[k] for k in node if k in _SHAPE})


def unenforced(schema: Any) -> Iterator[str]:
    """Yield each keyword that a grammar cannot enforce, with its JSON path; never content."""
    for path, node in subschemas(schema):
        rest = _relaxed_node(node)
        names = (key for key in node if key not in rest or rest[key] != node[key])
        yield from (f"{name} at {path or '/'}" for name in names)


def _relaxed_node(node: dict[str, Any]) -> dict[str, Any]:
    """Return one subschema without what a grammar cannot enforce; subschemas of its own stay."""
    rest = {key: value for key, value in node.items() if key not in _UNKNOWN_KEYWORDS}
    if _is_large_count(node):
        del rest["minProperties"]
    if "pattern" in rest:
        rest.pop("format", None)  # few grammars hold both
        pattern = relaxed_pattern(str(rest["pattern"]))
        rest = {**rest, "pattern": pattern} if pattern else _without(rest, "pattern")
    if rest.get("format", "date") not in _FORMATS and _may_be_string(node):
        del rest["format"]
    for keyword in _BOUNDS:
        if _is_large(rest.get(keyword)):
            del rest[keyword]
    if "oneOf" in rest:
        either = rest.pop("oneOf")
        rest.setdefault("anyOf", either)
    return _relaxed_names(rest)


def _relaxed_names(node: dict[str, Any]) -> dict[str, Any]:
    """Return the node without patterns of names that a grammar cannot read, and open for them."""
    patterns = node.get("patternProperties")
    if not isinstance(patterns, dict) or all(relaxed_pattern(name) == name for name in patterns):
        return node
    return _without(_without(node, "patternProperties"), "additionalProperties")


def _without(node: dict[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != keyword}


def _is_large_count(node: dict[str, Any]) -> bool:
    """Return whether `minProperties` asks for more properties than are required.

    A grammar counts the properties that are written, even if one is written twice.
    """
    minimum = node.get("minProperties", 0)
    return isinstance(minimum, int | float) and minimum > len(node.get("required", ()))


def _is_large(bound: Any) -> bool:
    return isinstance(bound, int | float) and abs(bound) > _MAX_BOUND


def _may_be_string(node: dict[str, Any]) -> bool:
    kinds = node.get("type", "string")
    return "string" in (kinds if isinstance(kinds, list) else [kinds])
