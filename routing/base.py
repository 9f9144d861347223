"""What the wire contract is made of: the frozen base, and types that check themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from forebay.routing.errors import InvalidJob, TooLong

MAX_TEXT = 500_000  # characters; several times the context of any local model
MAX_SCHEMA = 65_536  # bytes as JSON
MAX_DEPTH = 48  # levels of a schema; far below what a parser or a checker takes

NANO = 1_000_000_000  # money is counted in whole billionths of a dollar

Egress = Literal["deny", "allow"]
Kind = Literal["classify", "extract", "summarize", "generate", "embed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]

#: What pydantic says of any field, whether it was typed on a command line or sent by a program.
_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not known here (`forebay schema` prints what is)",
}
_SUBJECT = re.compile(r"^(Input|Value|String|Tuple|List|Dictionary) (?=should )")

_OUR_NAME = re.compile(r"[a-z][a-z_]{0,30}")

Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
JOB_ID = r"^[a-z0-9][a-z0-9_-]{0,62}\.[0-9a-f]{32}$"
JobId = Annotated[str, StringConstraints(pattern=JOB_ID)]


class FrozenModel(BaseModel):
    """Base of all that travels: frozen, closed, and silent about its content when it is wrong."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_by_name=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Any) -> Self:
        try:
            return cast("Self", handler(data))
        except ValidationError as error:
            raise explain(error) from None


def explain(error: ValidationError) -> InvalidJob:
    """Say what is wrong in our words: the first wrong field, and never what was in it."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    field = _field(first["loc"])
    too_long = first["type"] in {"string_too_long", "too_long", "bytes_too_long"}
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return InvalidJob(f"must be one of {', '.join(KINDS)}", field="kind")
    return (TooLong if too_long else InvalidJob)(worded(first), field=field)


def worded(error: Mapping[str, Any]) -> str:
    """An error of pydantic's in words that follow the name of a field."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    message: str = error["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return _SUBJECT.sub("", message)


def _field(loc: Sequence[str | int]) -> str | None:
    """The path of a field as far as its names are ours: one that the caller chose is content."""
    ours = takewhile(lambda part: isinstance(part, int) or _OUR_NAME.fullmatch(part), loc)
    parts = [str(part) for part in ours]
    if "metadata" in parts:
        parts = parts[: parts.index("metadata") + 1]
    return ".".join(parts) or None


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON Schema, and what would make a checker fetch something."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - 30 ms, used by few

    plain = _plain(schema)
    if any(not ref.startswith("#") for ref in _references(plain)):
        raise ValueError("every $ref must point into the schema itself (#/...)")
    try:
        Draft202012Validator.check_schema(plain)
    except SchemaError as error:
        at = _place(error.absolute_path, Draft202012Validator.VALIDATORS)
        raise ValueError(f"is not a JSON Schema (draft 2020-12), at /{at}") from None
    except (ArithmeticError, RecursionError):  # of a pattern that `re` cannot take
        raise ValueError("has a pattern that cannot be used") from None
    return plain


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as it will be when it has travelled: nothing in it but JSON, and little of that.

    A lone surrogate cannot travel, NaN is no JSON, and what is nested too deep could be written
    but not be read again.
    """
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        size, plain = len(text.encode()), json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if size > MAX_SCHEMA:
        raise TooLong(f"should be at most {MAX_SCHEMA} bytes of JSON", field="schema")
    if any(level > MAX_DEPTH for _, level in _nodes(plain)):
        raise ValueError(f"should be nested at most {MAX_DEPTH} levels deep")
    return cast("dict[str, Any]", plain)


def _nodes(root: Any) -> Iterator[tuple[Any, int]]:
    """Every part of a JSON document and its level. No recursion, so a deep one is no danger."""
    waiting = [(root, 1)]
    while waiting:
        node, level = waiting.pop()
        yield node, level
        if isinstance(node, dict | list):
            inside = node.values() if isinstance(node, dict) else node
            waiting.extend((part, level + 1) for part in inside)


def _references(schema: dict[str, Any]) -> Iterator[str]:
    for node, _ in _nodes(schema):
        if isinstance(node, dict):
            refs = (node.get("$ref"), node.get("$dynamicRef"))
            yield from (ref for ref in refs if isinstance(ref, str))


def _place(path: Iterable[str | int], keywords: Container[str]) -> str:
    """Where in a schema, in the words of JSON Schema: the names between them are content."""
    return "/".join(
        str(part) if isinstance(part, int) or part in keywords else "*" for part in path
    )


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("is not a regular expression") from None
    return pattern


JsonSchema = Annotated[dict[str, Any], AfterValidator(_json_schema)]
RegexPattern = Annotated[Short, AfterValidator(_regex)]
