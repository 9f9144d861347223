"""JSON Schemas and regular expressions of callers: checked, and translated to one dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator

from forebay.routing import json_tree
from forebay.routing.base import Short
from forebay.routing.errors import InvalidJob, TooLong

MAX_SCHEMA_BYTES = 65_536  # as JSON
MAX_SCHEMA_DEPTH = 48  # levels; far below what a JSON parser or a validator can take
#: Keywords that may stand beside a `$ref` at the root without saying anything of the data.
_BESIDE_ROOT_REF = frozenset(
    {"$ref", "$defs", "definitions", "$schema", "$id", "title", "description", "$comment"}
)
MAX_SCHEMA_NODES = 5_000  # objects, lists and values
MAX_SCHEMA_LIST = 1_000  # entries of one list, such as the options of an `enum`

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_ANCHOR = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
#: Keywords that draft 2020-12 does not have, and that cannot be translated.
_TOO_OLD = {
    "$recursiveRef": "write $dynamicRef",
    "divisibleBy": "write multipleOf",
    "disallow": "write not",
    "extends": "write allOf",
}


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


_is_text, _is_schema = _is(str), _is(dict, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == value // 1


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len({*value}) == len(value)


def _are_types(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _are_names(names) and bool(names) and _TYPES.issuperset(names)


def _by_name(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


#: What the value of each keyword has to be. An unknown keyword is an annotation, with any value.
_RULES: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(json_tree.SCHEMA_LISTS, _are_schemas),
    **dict.fromkeys(json_tree.SINGLE_SCHEMAS, _is_schema),
    **dict.fromkeys(json_tree.SCHEMAS_BY_NAME, _by_name(_is_schema)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
         "minContains", "maxContains"), _is_count),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _is(bool)),
    **dict.fromkeys(
        ("$anchor", "$dynamicAnchor"), lambda value: _is_text(value) and _ANCHOR.fullmatch(value)),
    **dict.fromkeys(
        ("$schema", "$ref", "$dynamicRef", "$comment", "title", "description", "pattern", "format",
         "contentEncoding", "contentMediaType"), _is_text),
    **dict.fromkeys(("enum", "examples"), _is(list)),
    "$id": lambda value: _is_text(value) and "#" not in value.removesuffix("#"),
    "$vocabulary": _by_name(_is(bool)),
    "contentSchema": _is_schema,
    "dependentRequired": _by_name(_are_names),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "required": _are_names,
    "type": _are_types,
}  # fmt: skip


def _checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema as plain JSON, with older dialects translated to draft 2020-12.

    The time that this takes is linear in the size of the schema.

    Raises:
        ValueError: It is not a JSON Schema, or a validator would have to fetch a part of it, or a
            reference or a regular expression in it is broken.
        TooLong: It is larger than `MAX_SCHEMA_BYTES`, `MAX_SCHEMA_NODES` or `MAX_SCHEMA_LIST`.
    """
    plain = _plain_json(_in_draft_2020(_plain_json(schema)))
    # Found once each: many references may share a target that is reached in many steps.
    target = cache(partial(json_tree.target, root=plain, named=json_tree.anchors(plain)))
    for path, node in json_tree.subschemas(plain):
        _check_keywords(path, node)
        _check_references(path, node, target)
        _check_patterns(path, node)
    if any(not ref.startswith("#") for ref in _references(plain)):  # in a part of unknown keywords
        raise ValueError("every $ref must point into the schema itself (#/...)")
    return plain


def _in_draft_2020(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema in draft 2020-12: keywords of OpenAPI 3.0 and of draft 7 are translated.

    A root that is only a `$ref`, as that of a recursive pydantic model, is written out.
    """
    translated: dict[str, Any] = json_tree.map_schema(schema, _translated)
    root, anchors = translated, json_tree.anchors(translated)
    for _ in range(MAX_SCHEMA_DEPTH):
        if not isinstance(root.get("$ref"), str) or root.keys() - _BESIDE_ROOT_REF:
            break
        target = json_tree.target(root["$ref"], translated, anchors)
        if not isinstance(target, dict) or target is translated:
            break
        root = {**{key: root[key] for key in root if key != "$ref"}, **target}
    return root


def _translated(node: dict[str, Any]) -> dict[str, Any]:
    """Translate `nullable`, boolean exclusive bounds, a list as `items`, and `dependencies`."""
    new = dict(node)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(exclusive), bool):
            del new[exclusive]
            if node[exclusive] and bound in new:
                new[exclusive] = new.pop(bound)
    if isinstance(node.get("items"), list) and "prefixItems" not in node:
        new["prefixItems"] = new.pop("items")
        if "additionalItems" in new:
            new["items"] = new.pop("additionalItems")
    if isinstance(node.get("dependencies"), dict):
        for name, needed in new.pop("dependencies").items():
            keyword = "dependentRequired" if isinstance(needed, list) else "dependentSchemas"
            new[keyword] = {name: needed, **_dict(new.get(keyword))}
    if isinstance(node.get("nullable"), bool):
        del new["nullable"]
        return _or_null(new) if node["nullable"] else new
    return new


def _or_null(node: dict[str, Any]) -> dict[str, Any]:
    """Return a subschema that accepts null as well."""
    kinds, options = node.get("type"), node.get("enum")
    if not isinstance(kinds, str | list) or "const" in node:
        return {"anyOf": [node, {"type": "null"}]}
    listed = [kinds] if isinstance(kinds, str) else kinds
    new = {**node, "type": [*listed, *(["null"] if "null" not in listed else [])]}
    if isinstance(options, list) and None not in options:
        new["enum"] = [*options, None]
    return new


def _check_keywords(path: str, node: dict[str, Any]) -> None:
    """Raise `ValueError` if a keyword of this subschema has a value that the keyword cannot have.

    jsonschema compares a schema with the schema of JSON Schemas, which takes up to a second for one
    that may be submitted. These rules say the same.
    """
    for keyword, value in node.items():
        if keyword in _TOO_OLD:
            advice = _TOO_OLD[keyword]
            raise ValueError(f"has a keyword of an older draft, at {path}/{keyword}: {advice}")
        if keyword in _RULES and not _RULES[keyword](value):
            raise ValueError(f"is not a JSON Schema (draft 2020-12), at {path}/{keyword}")


def _check_references(path: str, node: dict[str, Any], target: Callable[[str], Any]) -> None:
    """Raise `ValueError` if a reference of this subschema points to nothing, or to itself."""
    for keyword in ("$ref", "$dynamicRef"):
        if isinstance(node.get(keyword), str) and not node[keyword].startswith("#"):
            raise ValueError(f"has a {keyword} to another schema, at {path}/{keyword}: write #/...")
    if "$id" in node:  # its references start from another root
        return
    for keyword in ("$ref", "$dynamicRef"):
        part: Any = node
        for _ in range(MAX_SCHEMA_DEPTH):
            if not isinstance(part, dict) or not isinstance(part.get(keyword), str):
                break
            part = target(part[keyword])
            if part is None:
                raise ValueError(f"has a {keyword} that points to nothing, at {path}/{keyword}")
        else:
            raise ValueError(f"has a {keyword} that leads back to itself, at {path}/{keyword}")


def _check_patterns(path: str, node: dict[str, Any]) -> None:
    """Raise `ValueError` if Python cannot read a regular expression of this subschema."""
    named = node.get("patternProperties")
    for keyword, patterns in (("patternProperties", named), ("pattern", [node.get("pattern")])):
        if not all(_compiles(each) for each in patterns or () if isinstance(each, str)):
            place = f"{path}/{keyword}"
            raise ValueError(f"has a regular expression that Python cannot read, at {place}")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (ArithmeticError, re.error, RecursionError):
        return False
    return True


def _plain_json(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema as its receiver will read it.

    A lone surrogate cannot be encoded, NaN is not JSON, and a document that is nested too deep
    could be written but not be read again.
    """
    if sum(1 for _ in islice(json_tree.nodes(schema), MAX_SCHEMA_BYTES + 1)) > MAX_SCHEMA_BYTES:
        # Counted first: a part that is used in several places is written out in each of them.
        raise TooLong(f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON", field="schema")
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        size, plain = len(text.encode()), json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if size > MAX_SCHEMA_BYTES:
        raise TooLong(f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON", field="schema")
    if json_tree.is_deeper_than(plain, MAX_SCHEMA_DEPTH):
        raise ValueError(f"must be nested at most {MAX_SCHEMA_DEPTH} levels deep")
    _require_few_parts(plain)
    return cast("dict[str, Any]", plain)


def _require_few_parts(schema: dict[str, Any]) -> None:
    """Raise `TooLong` if a lane would take too long for the parts of the schema."""
    for number, node in enumerate(json_tree.nodes(schema), start=1):
        if number > MAX_SCHEMA_NODES:
            raise TooLong(f"must have at most {MAX_SCHEMA_NODES} parts", field="schema")
        if isinstance(node, list) and len(node) > MAX_SCHEMA_LIST:
            limit = f"each list in it, such as an enum, must have at most {MAX_SCHEMA_LIST} entries"
            raise TooLong(limit, field="schema")


def _references(schema: dict[str, Any]) -> Iterator[str]:
    for node in json_tree.nodes(schema):
        if isinstance(node, dict):
            targets = (node.get("$ref"), node.get("$dynamicRef"))
            yield from (target for target in targets if isinstance(target, str))


def _checked_regex(pattern: str) -> str:
    if not _compiles(pattern):
        raise ValueError("is not a regular expression")
    return pattern


def _not_a_class_nor_wrapped(schema: Any) -> Any:
    if isinstance(schema, type):
        hint = "`Extract` takes a model class and gives an instance back"
        message = (
            f"must be a JSON Schema, not a class, because the answer is text; {hint}. Or give "
        )
        raise InvalidJob(f"{message}Model.model_json_schema()", field="schema")
    inner = schema.get("json_schema", schema) if isinstance(schema, dict) else None
    if isinstance(inner, dict) and _is_text(inner.get("name")) and _dict(inner.get("schema")):
        raise InvalidJob("is wrapped as for another API: give what `schema` holds", field="schema")
    return schema


def _of_an_object(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that admits objects alone.

    An answer is an object, so null is left out if it is admitted beside it.
    """
    kinds = schema.get("type")
    if isinstance(kinds, list) and "object" in kinds:
        return {**schema, "type": "object"}
    if kinds != "object":
        fix = 'say "type": "object" at the root, and put other schemas into its "properties"'
        raise InvalidJob(f"must describe an object: {fix}", field="schema")
    return schema


JsonSchema = Annotated[
    dict[str, Any], BeforeValidator(_not_a_class_nor_wrapped), AfterValidator(_checked_schema)
]
ObjectSchema = Annotated[JsonSchema, AfterValidator(_of_an_object)]
RegexPattern = Annotated[Short, AfterValidator(_checked_regex)]
