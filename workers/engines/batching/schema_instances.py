"""The smallest instance of a JSON Schema, for an engine without a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from referencing.exceptions import Unresolvable

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.prefills import after
from forebay.workers.isolation.limits import OverBudget
from forebay.workers.isolation.pool import call_within
from forebay.workers.isolation.schemas import first_violation, is_cheap

MAX_NODES = 5_000  # of an instance, and of the schemas that are looked at for it
MAX_STRING_CHARS = 100_000
VALIDATION_S = 1.0  # the engine's batch waits meanwhile

_MAX_DEPTH = 32
_MARKS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ENDS = {"{": "}", "[": "]"}
_BLANK: dict[str, Any] = {"object": {}, "array": [], "string": "", "boolean": False, "null": None}


def minimal_instance(schema: dict[str, Any], *, best_effort: bool = False) -> Any:
    """Return a small value that validates against the schema; for the best effort, perhaps not.

    Raises:
        InvalidJob: The simple means used here find no valid value, or none in time.
    """
    try:
        value = _Builder(schema).build(schema, 0)
        if best_effort or _is_valid(schema, value):
            return value
    except (LookupError, TypeError, ValueError, RecursionError, Unresolvable, OverBudget):
        pass
    raise InvalidJob("the echo engine finds no simple value that fits", field="schema")


def completed(begun: str, schema: dict[str, Any]) -> str:
    """Return what makes a begun JSON document a small one that validates against the schema.

    Raises:
        InvalidJob: Neither closing the document does it, nor does the smallest instance begin so.
    """
    with suppress(ValueError, OverBudget):
        closing = _closing(begun)
        if _is_valid(schema, json.loads(begun + closing)):
            return closing
    rest = after(begun, json.dumps(minimal_instance(schema)))
    if rest is None:
        raise InvalidJob("the echo engine finds no simple value that begins so", field="messages")
    return rest


def _closing(begun: str) -> str:
    """Return what closes the strings, lists and objects that a text leaves open."""
    open_marks: list[str] = []
    for mark in _MARKS.findall(begun):
        if mark in _ENDS:
            open_marks.append(_ENDS[mark])
        elif mark in "]}" and open_marks:
            open_marks.pop()
        elif mark[0] == '"' and (len(mark) == 1 or mark[-1] != '"'):
            open_marks.append('"')
    return "".join(reversed(open_marks))


def _is_valid(schema: dict[str, Any], value: Any) -> bool:
    if is_cheap(schema, value):
        return first_violation(schema, value) is None
    return call_within(VALIDATION_S, _validates, schema, value)


def _validates(schema: dict[str, Any], value: Any) -> bool:
    """Return whether the value validates; a schema without a meaning counts as violated."""
    try:
        return first_violation(schema, value) is None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the library's message may quote the schema
        return False


class _Builder:
    """Builds an instance of at most `MAX_NODES` nodes."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes_left = MAX_NODES

    def build(self, schema: Any, depth: int) -> Any:
        self._nodes_left -= 1
        if depth > _MAX_DEPTH or self._nodes_left < 0:
            raise RecursionError
        if not isinstance(schema, dict):
            return None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if "$ref" in schema:
            return self.build(_resolve(schema["$ref"], self._root), depth + 1)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.build(schema[several][0], depth + 1)
        return self._value_of_type(schema, depth)

    def _value_of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "null")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return dict(self._members(schema, depth))
        if kind == "array":
            item = schema.get("items", {})
            return [self.build(item, depth + 1) for _ in range(schema.get("minItems", 0))]
        if kind in {"integer", "number"}:
            return _number(schema)
        return _string(schema) if kind == "string" else _BLANK[kind]

    def _members(self, schema: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            yield name, self.build(properties.get(name, {}), depth + 1)


def _string(schema: dict[str, Any]) -> str:
    length: int = schema.get("minLength", 0)
    if length > MAX_STRING_CHARS:
        raise ValueError
    return "x" * length


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
