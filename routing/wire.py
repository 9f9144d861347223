"""What the wire contract is made of: the frozen base, and types that check themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from routing.errors import InvalidJob, TooLong

MAX_TEXT = 500_000  # characters; several times the context of any local model
MAX_SCHEMA = 65_536  # bytes as JSON

Kind = Literal["classify", "extract", "summarize", "generate", "embed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Wire(BaseModel):
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
    field = ".".join(str(part)[:60] for part in first["loc"]) or None
    too_long = first["type"] in {"string_too_long", "too_long", "bytes_too_long"}
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return InvalidJob(f"must be one of {', '.join(KINDS)}", field="kind")
    message = first["msg"].removeprefix("Value error, ")
    return (TooLong if too_long else InvalidJob)(message, field=field)


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON Schema, and what would make a checker fetch something."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - 30 ms, used by few

    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if size > MAX_SCHEMA:
        raise TooLong(f"should be at most {MAX_SCHEMA} bytes of JSON", field="schema")
    if any(not ref.startswith("#") for ref in _references(schema)):
        raise ValueError("every $ref must point into the schema itself (#/...)")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = "/".join(str(part)[:60] for part in error.absolute_path)
        raise ValueError(f"is not a JSON Schema (draft 2020-12), at /{at}") from None
    return schema


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error:
        raise ValueError("is not a regular expression") from None
    return pattern


JsonSchema = Annotated[dict[str, Any], AfterValidator(_json_schema)]
RegexPattern = Annotated[Short, AfterValidator(_regex)]
