"""Walk a JSON document: its nodes, leaves and texts; and the subschemas of a JSON Schema.

Two spellings of a document or a schema that mean the same have the same normal form.

No function that walks a document recurses, so a document that is nested too deep cannot exhaust the
stack. Those for schemas and normal forms do: what a job may hold has a limited depth.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any
from urllib.parse import unquote

from forebay.routing.errors import InvalidJob

Path = tuple[Hashable, ...]

#: Keywords of JSON Schema that hold subschemas: by name, in a list, or one alone. In draft 7
#: `items` may be a list.
SCHEMAS_BY_NAME = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
)
SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
SINGLE_SCHEMAS = frozenset(
    {
        "items", "additionalItems", "additionalProperties", "unevaluatedItems",
        "unevaluatedProperties", "propertyNames", "contains", "if", "then", "else", "not",
    }
)  # fmt: skip
#: Keywords whose lists are sets: neither their order nor a repetition means anything.
_SETS = frozenset({"required", "enum", "type", "allOf", "anyOf"})
#: Lists whose order means nothing, though a repetition does.
_UNORDERED = frozenset({"oneOf"})


class RepeatedName(ValueError):
    """A name occurs twice in an object of a JSON text, of which readers take either value."""

    def __init__(self, name: str) -> None:
        super().__init__(f"has the name {name[:60]!r} twice in an object")
        self.name = name


def unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these members (an `object_pairs_hook` of `json.loads`).

    Raises:
        RepeatedName: Two members have the same name.
    """
    found = dict(members)
    if len(found) < len(members):
        times = Counter(name for name, _ in members)
        raise RepeatedName(next(name for name in found if times[name] > 1))
    return found


def read_json(text: str, *, field: str | None = None) -> Any:
    """Return the JSON that a caller wrote.

    Raises:
        InvalidJob: It is no JSON that has one reading; says where it is wrong.
    """
    try:
        return json.loads(text, object_pairs_hook=unique)
    except RepeatedName as error:
        reason = str(error)
    except json.JSONDecodeError as error:
        reason = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except (RecursionError, ValueError):  # nested too deep; a number of too many digits
        reason = "is not JSON that can be read"
    raise InvalidJob(reason, field=field)


def nodes(document: Any) -> Iterator[Any]:
    """Yield the document and every part of it, in document order."""
    stack = [document]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(_parts(node)))


def leaves(document: Any) -> Iterator[Any]:
    """Yield every value that is neither an object nor an array, in document order."""
    return (node for node in nodes(document) if not isinstance(node, dict | list | tuple))


def leaves_by_path(document: Any, *, max_depth: int) -> dict[Path, Any]:
    """Return the leaves under their paths: names of members and indexes of arrays.

    An empty object or array is a leaf as well, and so is a part whose path has `max_depth` steps.
    """
    by_path: dict[Path, Any] = {}
    stack: list[tuple[Path, Any]] = [((), document)]
    while stack:
        path, node = stack.pop()
        parts = _parts(node) if len(path) < max_depth else []
        if parts:
            names = node if isinstance(node, dict) else range(len(parts))
            stack += [((*path, name), part) for name, part in zip(names, parts, strict=True)]
        else:
            by_path[path] = node
    return by_path


def texts(document: Any) -> Iterator[str]:
    """Yield every name of a member, and every leaf except null as text, in document order."""
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack.extend(reversed([part for member in node.items() for part in member]))
        elif isinstance(node, list | tuple):
            stack.extend(reversed(node))
        elif node is not None:
            yield str(node)


def is_deeper_than(document: Any, levels: int) -> bool:
    """Return whether the document has more than this many levels. A scalar has one."""
    level = [document]
    for _ in range(levels):
        if not level:
            return False
        level = [part for node in level for part in _parts(node)]
    return bool(level)


def with_plain_numbers(document: Any) -> Any:
    """Return the document with each whole number as an integer: JSON knows no other 1.0 than 1."""
    match document:
        case dict():
            return {name: with_plain_numbers(part) for name, part in document.items()}
        case list() | tuple():
            return [with_plain_numbers(part) for part in document]
        case float() if document.is_integer():
            return int(document)
        case _:
            return document


def normal_schema(schema: Any) -> Any:
    """Return a JSON Schema in the form that it shares with every other spelling of it.

    Lists that are sets are sorted, whole numbers are integers, and a type alone is a list of one.
    The order of members is left to the writer (`sort_keys`).
    """
    by_place = any(
        isinstance(part.get(keyword), str) and "Of/" in part[keyword]
        for _, part in subschemas(schema)
        for keyword in ("$ref", "$dynamicRef")
    )  # such a reference names a place in a list, whose order then has a meaning
    kept = frozenset({"allOf", "anyOf", "oneOf"}) if by_place else frozenset()
    return map_schema(with_plain_numbers(schema), partial(_normal, kept=kept))


def _normal(node: dict[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    new = dict(node)
    if isinstance(node.get("type"), str):
        new["type"] = [node["type"]]
    for keyword in (_SETS | _UNORDERED) - kept:
        if isinstance(new.get(keyword), list):
            new[keyword] = _sorted(new[keyword], repeated=keyword in _UNORDERED)
    needed = node.get("dependentRequired")
    if isinstance(needed, dict):
        new["dependentRequired"] = {name: _sorted(names) for name, names in needed.items()}
    return new


def _sorted(values: list[Any], *, repeated: bool = False) -> list[Any]:
    """Return the values in the order of their JSON; each once, unless they may be repeated."""
    written = [(json.dumps(value, sort_keys=True), value) for value in values]
    distinct = written if repeated else dict(written).items()
    return [value for _, value in sorted(distinct, key=lambda each: each[0])]


def _parts(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list | tuple) else []


def subschemas(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of a JSON Schema that is a schema itself, with its JSON path.

    A schema that is true or false is left out. Names that the caller chose are `*` in the path,
    since they are content.
    """
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in SCHEMAS_BY_NAME and isinstance(value, dict):
            for part in value.values():
                yield from subschemas(part, f"{path}/{keyword}/*")
        elif keyword in SCHEMA_LISTS and isinstance(value, list):
            for number, part in enumerate(value):
                yield from subschemas(part, f"{path}/{keyword}/{number}")
        elif keyword in SINGLE_SCHEMAS:
            yield from subschemas(value, f"{path}/{keyword}")


def map_schema(schema: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a JSON Schema with every subschema, the innermost first, replaced by its `change`."""
    if not isinstance(schema, dict):
        return schema
    return change({keyword: _mapped(keyword, part, change) for keyword, part in schema.items()})


def anchors(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the subschemas that have a name of their own, by that name."""
    parts, names = list(subschemas(schema)), ("$anchor", "$dynamicAnchor")
    return {str(part[name]): part for _, part in parts for name in names if name in part}


def target(reference: str, root: dict[str, Any], named: dict[str, Any]) -> Any:
    """Return the part of a schema that a reference points to, or `None` if there is none."""
    fragment = unquote(reference.removeprefix("#"))
    if fragment and not fragment.startswith("/"):
        return named.get(fragment)
    node: Any = root
    for step in fragment.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            node = node[int(name)] if name.isdecimal() and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict | bool) else None


def _mapped(keyword: str, value: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    if keyword in SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: map_schema(part, change) for name, part in value.items()}
    if keyword in SCHEMA_LISTS and isinstance(value, list):
        return [map_schema(part, change) for part in value]
    return map_schema(value, change) if keyword in SINGLE_SCHEMAS else value
