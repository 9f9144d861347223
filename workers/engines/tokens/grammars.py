"""Constraints as grammars of llguidance, the library that masks tokens inside llama.cpp.

With such a grammar a model can only generate text that fits it (grammar-constrained decoding).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, Constraint, JsonSchema, Pattern
from forebay.workers.engines.tokens import trial
from forebay.workers.engines.tokens.patterns import relaxed_pattern, unenforced_in_pattern
from forebay.workers.engines.tokens.relaxation import (
    relaxed,
    shape,
    unenforced,
    without_idle_keywords,
)

#: Set notation inside brackets: Rust reads it as operations, Python as plain characters.
_AMBIGUOUS = re.compile(r"\[\[|--|&&|~~|\|\|")
_SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_FREE_SPACES = {"whitespace_flexible": True}
#: Keywords of JSON Schema whose values are data, not schemas.
_DATA_KEYWORDS = frozenset({"const", "enum", "default", "examples"})
#: Keywords that bound a string already.
_STRING_BOUNDS = frozenset({"maxLength", "pattern", "format", "enum", "const"})
#: Characters of a text of a format that has no end of its own: a number in it may go on for ever.
_FORMAT_CHARS = {"date-time": 40, "time": 30, "duration": 30, "email": 100, "hostname": 100}
#: Keywords of an object that may hold properties without a name in the schema.
_OPEN_OBJECT = frozenset({"additionalProperties", "patternProperties", "minProperties"})
#: Keywords that describe one object in several places.
_COMBINING = frozenset({"allOf", "if", "not", "dependentSchemas", "unevaluatedProperties"})
#: Keywords that do so beside `properties`.
_COMBINING_WITH_PROPERTIES = frozenset({"anyOf", "oneOf", "$ref", "$dynamicRef"})
_JSON = "%json "  # begins a body that holds a JSON Schema
_MIN_STRING_CHARS = 32  # that every string may have
_CHARS_PER_TOKEN = 3  # about
_MAX_NAMED_FAULTS = 3  # in an error message


def grammar(body: str) -> str:
    """Return a whole grammar for the text that `body` describes."""
    return f"%llguidance {{}}\nstart: body\nbody: {body}\n"


def after_head(body: str, first: str, special: Sequence[int]) -> str:
    """Return a grammar of what a chat template writes before an answer, and then of the answer.

    Args:
        body: describes the answer.
        first: the first character of the answer, which the template does not write there.
        special: the ids of the model's special tokens, ascending.
    """
    runs = groupby(enumerate(special), key=lambda pair: pair[1] - pair[0])
    ids = [[token for _, token in run] for _, run in runs]
    token = f"<[{','.join(f'{run[0]}-{run[-1]}' for run in ids)}]> | " if ids else ""
    other = f"/[^\\u{{{ord(first):x}}}]+/"
    return f"%llguidance {{}}\nstart: ({token}{other})* body\nbody: {body}\n"


def begun(constraint: Constraint, prefill: str) -> str:
    """Return what of a prefill a grammar reads: none of the white space in front of JSON."""
    return prefill.lstrip() if isinstance(constraint, JsonSchema) else prefill


def probe(body: str) -> str:
    """Return a grammar whose text starts with a Q, which shows whether the grammar is in force."""
    return f'%llguidance {{}}\nstart: "Q" body\nbody: {body}\n'


def field_of(constraint: Constraint) -> str:
    """Return the field of a job that the constraint came from."""
    return {"choice": "labels", "json": "schema", "regex": "regex"}[constraint.type]


def literal(text: str) -> str:
    """Return a grammar body for exactly this text."""
    return json.dumps(text, ensure_ascii=False)


def body_of(constraint: Constraint, max_tokens: int) -> str:
    """Return the grammar body that enforces the whole constraint.

    Raises:
        InvalidJob: There are no options, or an option is empty; Python and Rust read the regular
            expression differently; or the schema counts properties.
    """
    match constraint:
        case Choice(options=options):
            if not options or "" in options:
                raise InvalidJob("must be one or more, none of them empty", field="labels")
            return " | ".join(literal(option) for option in options)
        case JsonSchema(schema_=schema):
            if any(fault.startswith("minProperties ") for fault in unenforced(schema)):
                raise refusal(constraint)
            return _json(without_idle_keywords(schema), max_tokens)
        case Pattern(regex=regex):
            return _pattern(regex)


def bodies_of(
    constraint: Constraint, max_tokens: int, *, best_effort: bool, prefill: str | None = None
) -> Iterator[str]:
    """Yield the grammar bodies to try for a constraint, the strictest first.

    The first body enforces the whole constraint. For the best effort, bodies that enforce less and
    less follow. With a prefill, only those follow that hold for a text which begins with it; the
    spaces in JSON are then free if the prefill has its own.

    Raises:
        InvalidJob: See `body_of`; or no body holds for a text that begins with the prefill.
    """
    if prefill is None:
        yield from _bodies_of(constraint, max_tokens, best_effort=best_effort)
        return
    text, held = begun(constraint, prefill), False
    room = max_tokens + len(text)
    for strict in _bodies_of(constraint, room, best_effort=best_effort):
        for body in (strict, _freely_spaced(strict)):
            if trial.accepts(grammar(body), text):
                held = True
                yield body
                break
    if not held:
        words = (
            f"the assistant's last message begins no answer that fits the {field_of(constraint)}"
        )
        raise InvalidJob(words, field="messages")


def _freely_spaced(body: str) -> str:
    """Return a grammar body that takes white space between the parts of JSON."""
    if not body.startswith(_JSON):
        return body
    return f"{_JSON}{json.dumps(schema_in(body) | {'x-guidance': _FREE_SPACES})}"


def _bodies_of(constraint: Constraint, max_tokens: int, *, best_effort: bool) -> Iterator[str]:
    if not best_effort or isinstance(constraint, Choice):
        yield body_of(constraint, max_tokens)
        return
    with suppress(InvalidJob):
        yield body_of(constraint, max_tokens)
    if isinstance(constraint, Pattern):
        rest = relaxed_pattern(constraint.regex)
        yield from [] if rest is None else [_pattern(rest)]
        return
    schema = constraint.schema_
    yield _json(relaxed(schema), max_tokens)
    yield _json(shape(schema), max_tokens)
    yield _json({key: schema[key] for key in schema.keys() & {"type"}}, max_tokens)


def refusal(constraint: Constraint, *, best_effort: bool = False) -> InvalidJob:
    """Return the error of a constraint that no grammar can enforce: which keyword, and where.

    After the best effort, the error says that no part of the constraint can be enforced either.
    """
    field = field_of(constraint)
    match constraint:
        case JsonSchema(schema_=schema):
            faults = list(dict.fromkeys(unenforced(schema)))[:_MAX_NAMED_FAULTS]
            size = len(json.dumps(schema))
            what = ", ".join(faults) or f"a schema of this kind, of {size} characters"
        case Pattern(regex=regex):
            what = f"{unenforced_in_pattern(regex)} of a regular expression"
        case Choice(options=options):
            what = f"a choice of {len(options)} labels"
    rest = "; nor can any other part of it be enforced: write it without" if best_effort else ""
    message = f"asks for something that this engine cannot enforce: {what}{rest}"
    return InvalidJob(message, field=field)


def too_large(constraint: Constraint) -> InvalidJob:
    """Return the error of a constraint that outgrew the library's limits in a generation."""
    size = len(constraint.model_dump_json())
    message = f"is too large for this engine to enforce: {size} characters as JSON"
    return InvalidJob(message, field=field_of(constraint))


def schema_in(body: str) -> dict[str, Any]:
    """Return the JSON Schema that a grammar body holds."""
    schema: dict[str, Any] = json.loads(body.removeprefix(_JSON))
    return schema


def _json(schema: dict[str, Any], max_tokens: int) -> str:
    return f"{_JSON}{json.dumps(bounded(schema, max_tokens))}"


def _pattern(regex: str) -> str:
    if _AMBIGUOUS.search(regex):
        raise InvalidJob("must not hold [[, --, &&, ~~ or ||: escape them", field="regex")
    # The whole text must match, so anchors at the ends change nothing; and a slash would end the
    # pattern in a grammar.
    inner = regex.removeprefix("^")
    if inner.endswith("$") and not inner.endswith(r"\$"):
        inner = inner[:-1]
    slashed = re.sub(
        r"\\.|/", lambda match: r"\/" if match[0] == "/" else match[0], inner, flags=re.DOTALL
    )
    return f"/{slashed}/"


def bounded(schema: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Return a narrower schema that keeps a small model from running on without an end.

    Whatever fits the narrower schema fits the original. In a string without a limit a small model
    goes on until its tokens are used up, and in an object without a limit it invents properties;
    either way the JSON is broken. So the characters that `max_tokens` can give (about three each)
    are shared out among the strings, and objects hold only the properties that they name, unless
    the schema describes an object in several places.
    """
    strings = max(1, json.dumps(schema).count('"string"'))
    max_chars = max(_MIN_STRING_CHARS, _CHARS_PER_TOKEN * max_tokens // (strings + 1))
    narrower: dict[str, Any] = _bound(schema, max_chars, closed=not _combines(schema))
    # This replaces an `x-guidance` of the schema's own, which could loosen the grammar.
    return narrower | {"x-guidance": _SEPARATORS}


def _bound(node: Any, max_chars: int, *, closed: bool) -> Any:
    if isinstance(node, list):
        return [_bound(item, max_chars, closed=closed) for item in node]
    if not isinstance(node, dict):
        return node
    bound = {
        key: value if key in _DATA_KEYWORDS else _bound(value, max_chars, closed=closed)
        for key, value in node.items()
    }
    kinds = node.get("type")
    is_string = kinds == "string" or (isinstance(kinds, list) and "string" in kinds)
    if is_string and not _STRING_BOUNDS & node.keys():
        bound["maxLength"] = max(max_chars, node.get("minLength", 0))
    elif is_string and (limit := _format_chars(node)):
        bound["maxLength"] = max(limit, node.get("minLength", 0))
    if closed and kinds == "object" and _names_all(node) and not _OPEN_OBJECT & node.keys():
        bound["additionalProperties"] = False
    return bound


def _names_all(node: dict[str, Any]) -> bool:
    """Return whether an object's properties have names, those that are required among them."""
    properties = node.get("properties")
    return isinstance(properties, dict) and properties.keys() >= {*node.get("required", ())}


def _format_chars(node: dict[str, Any]) -> int | None:
    """Return how long a text of the node's format may become; `None` if another keyword says so."""
    if _STRING_BOUNDS & node.keys() != {"format"} or not isinstance(node["format"], str):
        return None
    return _FORMAT_CHARS.get(node["format"])


def _combines(node: Any) -> bool:
    """Return whether the schema describes an object in several places.

    Then no place knows all names of the object's properties.
    """
    if isinstance(node, list):
        return any(_combines(item) for item in node)
    if not isinstance(node, dict):
        return False
    beside_properties = "properties" in node and _COMBINING_WITH_PROPERTIES & node.keys()
    if beside_properties or _COMBINING & node.keys():
        return True
    return any(_combines(value) for value in node.values())
