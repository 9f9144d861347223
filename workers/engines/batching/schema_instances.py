"""The smallest instance of a JSON Schema, for an engine without a model."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from referencing.exceptions import Unresolvable

from forebay.routing.errors import InvalidJob

_MAX_DEPTH = 32
_BLANK: dict[str, Any] = {"object": {}, "array": [], "string": "", "boolean": False, "null": None}


def minimal_instance(schema: dict[str, Any], *, best_effort: bool = False) -> Any:
    """Return a small value that validates against the schema; for the best effort, perhaps not.

    Raises:
        InvalidJob: The simple means used here find no valid value.
    """
    try:
        value = _build(schema, schema, 0)
        if best_effort or Draft202012Validator(schema).is_valid(value):
            return value
    except (LookupError, TypeError, ValueError, RecursionError, Unresolvable):
        pass
    raise InvalidJob("the echo engine finds no simple value that fits", field="schema")


def _build(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return _build(_resolve(schema["$ref"], root), root, depth + 1)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _build(schema[several][0], root, depth + 1)
    return _value_of_type(schema, root, depth)


def _value_of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: _build(properties.get(name, {}), root, depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        item = schema.get("items", {})
        return [_build(item, root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"}:
        return _number(schema)
    return "x" * schema.get("minLength", 0) if kind == "string" else _BLANK[kind]


def _number(schema: dict[str, Any]) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low))
    step = schema.get("multipleOf", 1)
    value = min(max(low, 0), high)
    if value in {schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")}:
        value += step if "exclusiveMinimum" in schema else -step
    return value


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node
