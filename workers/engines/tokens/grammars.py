"""A constraint as a grammar of llguidance, the library that masks tokens inside llama.cpp."""

from __future__ import annotations

import json
import re
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, Constraint, JsonShape, Pattern

#: Set notation inside brackets: Rust reads it as operations, Python as plain characters.
_READ_OTHERWISE = re.compile(r"\[\[|--|&&|~~|\|\|")
_SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_VALUES = frozenset({"const", "enum", "default", "examples"})
_ENDED = frozenset({"maxLength", "pattern", "format", "enum", "const"})
_OPEN = frozenset({"additionalProperties", "patternProperties", "minProperties"})
_TOGETHER = frozenset({"allOf", "if", "not", "dependentSchemas", "unevaluatedProperties"})
_EITHER = frozenset({"anyOf", "oneOf", "$ref", "$dynamicRef"})
_MIN_STRING_CHARS = 32  # characters that every string is granted


def grammar(body: str) -> str:
    """A whole grammar whose text is what `body` describes."""
    return f"%llguidance {{}}\nstart: body\nbody: {body}\n"


def probe(body: str) -> str:
    """A grammar whose text starts with a Q: it can be seen whether it is in force."""
    return f'%llguidance {{}}\nstart: "Q" body\nbody: {body}\n'


def field_of(constraint: Constraint) -> str:
    """The field of a job that the constraint came from."""
    return {"choice": "labels", "json": "schema", "regex": "regex"}[constraint.type]


def literal(text: str) -> str:
    """A grammar body for exactly this text."""
    return json.dumps(text, ensure_ascii=False)


def body_of(constraint: Constraint, max_tokens: int) -> str:
    """The grammar body of a constraint.

    Raises:
        InvalidJob: A choice of nothing, a regular expression that two libraries would read in two
            ways, or a schema that counts properties.
    """
    match constraint:
        case Choice(options=options):
            if not options or "" in options:
                raise InvalidJob("must be one or more, none of them empty", field="labels")
            return " | ".join(literal(option) for option in options)
        case JsonShape(schema_=schema):
            _refuse_counting(schema)
            return f"%json {json.dumps(bounded(schema, max_tokens))}"
        case Pattern(regex=regex):
            return _pattern(regex)


def _refuse_counting(node: Any) -> None:
    """A grammar counts properties as they are written, also one that is written twice."""
    if isinstance(node, list):
        for one in node:
            _refuse_counting(one)
    elif isinstance(node, dict):
        least = node.get("minProperties", 0)
        if isinstance(least, int) and least > len(node.get("required", ())):
            raise InvalidJob("has minProperties, which this engine cannot hold", field="schema")
        for key, one in node.items():
            if key not in _VALUES:
                _refuse_counting(one)


def _pattern(regex: str) -> str:
    if _READ_OTHERWISE.search(regex):
        raise InvalidJob("has [[, --, &&, ~~ or ||, which this engine cannot hold", field="regex")
    # The whole text must match, so anchors at the ends say nothing; and a slash ends a grammar's
    # pattern.
    inner = regex.removeprefix("^")
    if inner.endswith("$") and not inner.endswith(r"\$"):
        inner = inner[:-1]
    slashed = re.sub(
        r"\\.|/", lambda one: r"\/" if one[0] == "/" else one[0], inner, flags=re.DOTALL
    )
    return f"/{slashed}/"


def bounded(schema: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """A narrower schema that a small model cannot lose itself in; what fits it fits the original.

    In a string without an end such a model goes on until its tokens are used up, and in an object
    without an end it invents properties; the JSON is broken either way. So the characters that
    `max_tokens` may give (about three a token) are shared out among the strings, and objects hold
    the properties they name, unless the schema puts an object together from several parts.
    """
    strings = max(1, json.dumps(schema).count('"string"'))
    longest = max(_MIN_STRING_CHARS, 3 * max_tokens // (strings + 1))
    narrower: dict[str, Any] = _bound(schema, longest, closed=not _composed(schema))
    # Ours replaces one that came with the schema, which could loosen the grammar.
    return narrower | {"x-guidance": _SEPARATORS}


def _bound(node: Any, longest: int, *, closed: bool) -> Any:
    if isinstance(node, list):
        return [_bound(one, longest, closed=closed) for one in node]
    if not isinstance(node, dict):
        return node
    bound = {
        key: value if key in _VALUES else _bound(value, longest, closed=closed)
        for key, value in node.items()
    }
    kinds = node.get("type")
    stringy = kinds == "string" or (isinstance(kinds, list) and "string" in kinds)
    if stringy and not _ENDED & node.keys():
        bound["maxLength"] = max(longest, node.get("minLength", 0))
    if closed and kinds == "object" and "properties" in node and not _OPEN & node.keys():
        bound["additionalProperties"] = False
    return bound


def _composed(node: Any) -> bool:
    """Whether one object is described in several places, so that no place knows all its names."""
    if isinstance(node, list):
        return any(_composed(one) for one in node)
    if not isinstance(node, dict):
        return False
    several = bool(_TOGETHER & node.keys()) or bool("properties" in node and _EITHER & node.keys())
    return several or any(_composed(value) for value in node.values())
