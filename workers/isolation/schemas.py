"""Validation against a caller's JSON Schema, and how to tell that it is cheap.

A validator can take time that is exponential in the size of a schema: a reference is followed
again and again, `unevaluatedProperties` evaluates every schema below it once more, a pattern
backtracks. So a schema is cheap if each of its keywords looks at each part of a document once. With
any other keyword, known or not, the schema is one for an isolated process.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from forebay.routing.json_tree import is_deeper_than, texts

MAX_STEPS = 20_000  # weight of a schema times weight of a document; some milliseconds
MAX_LEVELS = 64  # of a document; the validator recurses
_CHARS_PER_STEP = 64  # of a text: the validator writes texts into its error messages

_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
     "$schema", "$comment"}
)  # fmt: skip
_BOUNDS = frozenset(
    {"type", "required", "enum", "const", "minimum", "maximum", "exclusiveMinimum",
     "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
     "minProperties", "maxProperties"}
)  # fmt: skip
_SINGLE_SCHEMAS = frozenset({"items", "additionalProperties"})
_SCHEMA_LISTS = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
#: Formats whose check takes time that is linear in the text.
_LINEAR_FORMATS = frozenset({"date", "time", "date-time", "email", "ipv4", "ipv6", "uuid"})


def _multiple_of(_: Any, step: Any, data: Any, __: Any) -> Iterator[ValidationError]:
    """Check `multipleOf` as it is written: in binary, 19.99 is no multiple of 0.01."""
    if isinstance(data, int | float) and not isinstance(data, bool) and _exact(data) % _exact(step):
        yield ValidationError("is no multiple")


def _exact(number: float) -> Fraction:
    return Fraction(Decimal(repr(number)))


_Validator = extend(Draft202012Validator, {"multipleOf": _multiple_of})


def first_violation(schema: dict[str, Any] | bool, data: Any) -> str | None:  # noqa: FBT001 - a schema may be true
    """Return the keyword of the schema that the data violates; `None` if it validates.

    Formats (`date`, `email`, …) count. Nothing is ever fetched: the registry of schemas is empty.

    Raises:
        Exception: The schema has no meaning, such as a reference to nothing.
    """
    validator = _Validator(
        schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    error = next(validator.iter_errors(data), None)
    return str(error.validator or "false") if error else None  # `false` has no keyword


def is_cheap(schema: Any, data: Any) -> bool:
    """Return whether validation surely takes some milliseconds at most."""
    schema_weight = weight(schema, MAX_STEPS)
    return (
        schema_weight * weight(data, MAX_STEPS // schema_weight) <= MAX_STEPS
        and not is_deeper_than(data, MAX_LEVELS)
        and _is_linear(schema)
    )


def weight(document: Any, limit: int) -> int:
    """Return how much there is to look at in a document; counting ends beyond the limit."""
    total = 1
    for text in texts(document):
        total += 1 + len(text) // _CHARS_PER_STEP
        if total > limit:
            break
    return total


def _is_linear(schema: Any) -> bool:
    """Return whether the schema has keywords of known linear cost alone."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            return False
        for keyword, value in node.items():
            parts = _subschemas(keyword, value)
            if parts is None:
                return False
            stack.extend(parts)
    return True


def _subschemas(keyword: str, value: Any) -> list[Any] | None:
    """Return the schemas in a keyword's value; `None` if the keyword is not known to be linear."""
    if keyword in _ANNOTATIONS or keyword in _BOUNDS:
        return []
    if keyword in _SINGLE_SCHEMAS:
        return [value]
    if keyword in _SCHEMA_LISTS and isinstance(value, list):
        return value
    if keyword == "properties" and isinstance(value, dict):
        return list(value.values())
    is_linear_format = isinstance(value, str) and value in _LINEAR_FORMATS
    return [] if keyword == "format" and is_linear_format else None
