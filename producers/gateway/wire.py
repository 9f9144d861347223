"""The base of all request bodies, and types of fields that the wire formats share."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, from_json, to_json
from starlette.responses import Response

from forebay.producers.gateway.errors import InvalidRequest, NotSupported
from forebay.routing.base import MAX_TEXT, FieldError, Text, first_error
from forebay.routing.json_tree import RepeatedName, unique

MAX_DEPTH_SHOWN = 6  # parts of a field's path in an error
MAX_ENTRIES, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512  # of metadata, as OpenAI limits them
MAX_NULLS = 1_000  # unknown fields that are null in one body
TWICE = "occurs twice in an object: send it once"
_UNSUPPORTED = "not_supported"
_GZIP = b"\x1f\x8b"


class Body(BaseModel):
    """The body of a request: immutable, without unknown fields, and no content in its errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


BodyT = TypeVar("BodyT", bound=Body)


def read(model: type[BodyT], raw: bytes) -> BodyT:
    """Read a body from JSON.

    Raises:
        InvalidRequest: Names the wrong field.
        NotSupported: Names the field that asks for what Forebay cannot do.
    """
    try:
        body = model.model_validate_json(raw)
    except ValidationError as error:
        if lighter := _without_nulls(error, raw):
            return read(model, lighter)
        first = first_error(error)
        if first.type == "json_invalid":
            raise InvalidRequest(_no_json(raw), field="body") from None
        raise _refusal(first._replace(path=_sent(first.path, raw)), model) from None
    _require_unique_names(raw)
    return body


def _require_unique_names(raw: bytes) -> None:
    """Raise `InvalidRequest` if a name occurs twice in an object.

    Whoever looked at the body before it came here may have read the other value.
    """
    try:
        json.loads(raw, object_pairs_hook=unique)
    except RepeatedName as error:
        raise InvalidRequest(TWICE, field=error.name[:60] or "body") from None
    except (ValueError, RecursionError):
        return  # too many digits, or too deep, in what pydantic does not look at


def _without_nulls(error: ValidationError, raw: bytes) -> bytes | None:
    """Return the body without unknown fields that are null; `None` if it has none.

    They ask for nothing. Clients send back what a newer release of theirs made of an answer.
    """
    if error.error_count() > MAX_NULLS:
        return None
    unknown = [
        each["loc"]
        for each in error.errors(include_url=False)
        if each["type"] == "extra_forbidden" and each["input"] is None
    ]
    body: Any = from_json(raw) if unknown else None
    places = [place for path in unknown if (place := _place(body, path))]
    for place in places:
        within = body
        for part in place[:-1]:
            within = within[part]
        within.pop(place[-1], None)
    return to_json(body) if places else None


def _place(here: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """Return the path to a value that was sent, without the names that unions put between."""
    if not path:
        return None
    head, rest = path[0], path[1:]
    named = isinstance(here, dict) and head in here
    if named or (isinstance(here, list) and isinstance(head, int) and head < len(here)):
        if not rest:
            return (head,)
        if found := _place(here[head], rest):
            return (head, *found)
    return _place(here, rest)


def _sent(path: tuple[str | int, ...], raw: bytes) -> tuple[str | int, ...]:
    """Return the path as it leads through the body, also to a field that is missing there."""
    try:
        here = from_json(raw)
    except ValueError:
        return path
    if place := _place(here, path):
        return place
    sent: list[str | int] = []
    for number, part in enumerate(path, 1):
        if isinstance(here, dict) and (part in here or number == len(path)):
            sent.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int):
            sent.append(part)
            here = here[part] if part < len(here) else None
    return tuple(sent)


def fields_of(raw: bytes) -> Any:
    """Return the JSON of a body whose fields are read later.

    Raises:
        InvalidRequest: The body is no JSON.
    """
    try:
        fields = from_json(raw, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest(_no_json(raw), field="body") from None
    _require_unique_names(raw)
    return fields


def _no_json(raw: bytes) -> str:
    """Return why a body is no JSON. The parser's words say where, and quote nothing."""
    if not raw.strip():
        return "is empty: send a JSON object"
    if raw.startswith(_GZIP):
        return "is compressed: send it as plain JSON in UTF-8"
    try:
        from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        return f"must be JSON in UTF-8: {error}"
    return "must be JSON in UTF-8"


def _refusal(error: FieldError, model: type[Body]) -> InvalidRequest | NotSupported:
    field = ".".join(str(part)[:60] for part in error.path[:MAX_DEPTH_SHOWN]) or None
    if error.type == _UNSUPPORTED:
        return NotSupported(error.message, field=field)
    if error.type == "extra_forbidden":
        return InvalidRequest(_unknown(error, model), field=field)
    return InvalidRequest(error.message, field=field or "body")


def _unknown(error: FieldError, model: type[Body]) -> str:
    name = str(error.path[-1])[:60]
    if len(error.path) == 1 and name in _own_fields(model):
        return f'is a field of the object `forebay`: {{"forebay": {{"{name}": ...}}}}'
    names = [info.alias or each for each, info in model.model_fields.items()]
    close = get_close_matches(name, names, n=1)
    return f"is not a field that Forebay knows{f'; did you mean {close[0]}?' if close else ''}"


def _own_fields(model: type[Body]) -> set[str]:
    """Return the names of our own fields, which a body of this model takes in its `forebay`."""
    own = model.model_fields.get("forebay")
    kinds = get_args(own.annotation) if own else ()
    return {
        name
        for kind in kinds if isinstance(kind, type) and issubclass(kind, Body)
        for name in kind.model_fields
    }  # fmt: skip


def only(*neutral: Any, why: str) -> AfterValidator:
    """Return the check of a field of which Forebay takes only values that ask for nothing."""

    def check(value: Any) -> Any:
        if value is None or any(value == one for one in neutral):
            return value
        raise PydanticCustomError(_UNSUPPORTED, "{why}", {"why": f"is not supported: {why}"})

    return AfterValidator(check)


def _joined(value: Any) -> Any:
    """Return the text of a message whose content is a list of parts."""
    if not isinstance(value, list):
        return value
    texts = []
    for number, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in _TEXT_PARTS:
            words = {"why": f"part {number} is not supported: every part must be text"}
            raise PydanticCustomError(_UNSUPPORTED, "{why}", words)
        texts.append(part.get("refusal" if kind == "refusal" else "text"))
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("every part must have a text")
    return "".join(texts)


_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_PART_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"enum": sorted(_TEXT_PARTS)},
        "text": {"type": "string"},
        "refusal": {"type": "string", "description": "the text of a part of the type refusal"},
    },
    "required": ["type"],
}
_PARTS = BeforeValidator(_joined)
#: Text, or a list of parts that are all text.
PartsText = Annotated[
    Text,
    _PARTS,
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART_SCHEMA, "minItems": 1}]}
    ),
]
#: The same, and it may be empty: what a tool returned, or what a model said beside its calls.
AnyPartsText = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT),
    _PARTS,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _PART_SCHEMA}]}),
]


def _within_limits(metadata: dict[str, str]) -> dict[str, str]:
    """Return metadata if they keep to OpenAI's limits; an error quotes no key."""
    if len(metadata) > MAX_ENTRIES:
        raise ValueError(f"must have at most {MAX_ENTRIES} entries")
    if any(len(key) > MAX_KEY_CHARS for key in metadata):
        raise ValueError(f"a key must have at most {MAX_KEY_CHARS} characters")
    if any(len(value) > MAX_VALUE_CHARS for value in metadata.values()):
        raise ValueError(f"a value must have at most {MAX_VALUE_CHARS} characters")
    return metadata


#: What a caller of OpenAI's format attaches to a request. `forebay.metadata` may hold more.
Metadata = Annotated[
    dict[str, str],
    AfterValidator(_within_limits),
    WithJsonSchema(
        {
            "type": "object", "maxProperties": MAX_ENTRIES,
            "propertyNames": {"maxLength": MAX_KEY_CHARS},
            "additionalProperties": {"type": "string", "maxLength": MAX_VALUE_CHARS},
        }
    ),
]  # fmt: skip

Ignored = Any  # a field that says nothing to a fleet: who the end user is, and the like


def respond(body: Any, headers: dict[str, str], status: int = 200) -> Response:
    """Return a response of JSON."""
    return Response(to_json(body), status, headers, "application/json")
