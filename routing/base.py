"""The base of all typed values: a frozen model, field types that validate themselves, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, TypeVar, get_args
from unicodedata import category

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from forebay.routing.errors import InvalidJob, TooLong

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_TEXT = 500_000  # characters; several times the context of any local model
_MAX_NAME_CHARS = 60  # of a field's name in an error message

NANO = 1_000_000_000  # money is counted in whole billionths of a dollar

Egress = Literal["deny", "allow"]
Kind = Literal["classify", "extract", "summarize", "generate", "embed", "decide"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]

_UNASSIGNED = frozenset({"Cn", "Co"})  # not assigned, or of private use


def shows_text(text: str) -> bool:
    """Return whether a text has more than white space and characters without a width.

    A character that this Python does not know, such as a new emoji, is shown.
    """
    return any(char.isprintable() or category(char) in _UNASSIGNED for char in text if char != " ")


def is_none(value: object) -> bool:
    """Return whether a value is `None`.

    A field with `exclude_if=is_none` is stored only if it is set. So parts of an earlier release,
    which do not know the field, can still read a value without it.
    """
    return value is None


def is_one(value: object) -> bool:
    """Return whether a value is 1: see `is_none`, for a field whose default is 1."""
    return value == 1


TENANT = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Tenant = Annotated[str, StringConstraints(pattern=TENANT)]
JOB_ID = r"^[a-z0-9][a-z0-9_-]{0,62}\.[0-9a-f]{32}$"
JobId = Annotated[str, StringConstraints(pattern=JOB_ID)]


class FrozenModel(BaseModel):
    """A typed value that is immutable, has no unknown fields, and keeps content out of its errors.

    A wrong value raises `InvalidJob` with the path of the field, not pydantic's `ValidationError`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_by_name=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        if isinstance(data, cls):  # it was checked when it was made
            return data
        if _validating.get():  # the outer value knows the path that leads to this one
            try:
                return handler(data)
            except ValidationError as error:
                first = _with_known_fields(first_error(error), cls)
            raise PydanticCustomError(_NESTED, "is wrong", {"first": first})
        token = _validating.set(True)
        try:
            return handler(data)
        except ValidationError as error:
            first = _with_known_fields(first_error(error), cls)
        finally:
            _validating.reset(token)
        raise _as_error(first)


ModelT = TypeVar("ModelT", bound=BaseModel)

_put = object.__setattr__  # sets attributes of a frozen model


def changed(model: ModelT, **values: Any) -> ModelT:
    """Return a copy of a frozen model with other values, which are valid already.

    It is `model_copy` at a quarter of its time, for what is copied once for each row of a bulk.
    """
    known = model.__pydantic_fields_set__
    given = known if known.issuperset(values) else known.union(values)
    copy = _unchecked(model.__class__, {**model.__dict__, **values}, given)
    _put(copy, "__pydantic_private__", model.__pydantic_private__)
    return copy


def made(cls: type[ModelT], **values: Any) -> ModelT:
    """Return a frozen model of values that are valid already, with all fields without a default.

    It is the constructor at half of its time, for what is made once for each row of a bulk.
    """
    return _unchecked(cls, {**_defaults(cls), **values}, set(values))


def without(name: str, model: BaseModel, cls: type[ModelT]) -> ModelT:
    """Return a frozen model as one of a class that lacks one of its fields."""
    values = {**model.__dict__}
    del values[name]
    return _unchecked(cls, values, model.__pydantic_fields_set__ - {name})


def _unchecked(cls: type[ModelT], values: dict[str, Any], given: set[str]) -> ModelT:
    model = object.__new__(cls)
    _put(model, "__dict__", values)
    _put(model, "__pydantic_fields_set__", given)
    _put(model, "__pydantic_extra__", None)
    _put(model, "__pydantic_private__", None)
    return model


@cache
def _defaults(cls: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a model in their order; those without a fixed default are `None`."""
    return {name: field.get_default() for name, field in cls.model_fields.items()}


#: Whether this thread or task is validating a `FrozenModel` now.
_validating: ContextVar[bool] = ContextVar("validating", default=False)


def tagged_by(name: str) -> BeforeValidator:
    """Return a check that the tag of a union is no document: pydantic would recurse into it."""

    def check(data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get(name), dict | list):
            raise PydanticCustomError(_UNKNOWN_TAG, "is not a name")
        return data

    return BeforeValidator(check)


# --- validation errors --------------------------------------------------------------------------

_UNKNOWN = "extra_forbidden"
_UNKNOWN_TAG = "union_tag_invalid"
_NESTED = "nested"  # the error of a value inside another value
_LIST, _TEXT, _OBJECT = "must be a list", "must be text", "must be an object"
_NUMBER, _WHOLE, _BOOL = "must be a number", "must be a whole number", "must be true or false"
_MESSAGES = {
    "missing": "is missing, add it",
    _UNKNOWN: "is not a known field, correct its spelling or remove it",
    "bool_type": _BOOL, "bool_parsing": _BOOL,
    "float_type": _NUMBER, "float_parsing": _NUMBER,
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE,
    "string_type": _TEXT, "string_unicode": "must be text that UTF-8 can encode",
    "tuple_type": _LIST, "list_type": _LIST, "is_instance_of": _LIST, "sequence_str": _LIST,
    "dict_type": _OBJECT, "model_type": _OBJECT, "model_attributes_type": _OBJECT,
    "timezone_aware": "must have a time zone, like 2026-01-31T12:00:00Z",
}  # fmt: skip
_NOISE = re.compile(r"^Value error, |^\w+ (?=should )| after validation")
_OUR_NAME = re.compile(r"[a-z][a-z_]{0,30}")
FORMS = {
    TENANT: "must be lower-case letters, digits, - and _, at most 63, and begin with a letter or "
    "a digit",
    r"^[a-z0-9][a-z0-9_-]{0,40}$": "must be lower-case letters, digits, - and _, at most 41, and "
    "begin with a letter or a digit",
    r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$": "must be the name of a bucket: 3 to 63 lower-case "
    "letters, digits, dots and hyphens",
    r"^[A-Za-z0-9][A-Za-z0-9.:/_-]{0,199}$": "must be a model's id: letters, digits, and .:/_-",
    JOB_ID: "must be a tenant's name, a dot and 32 hexadecimal digits",
}


class FieldError(NamedTuple):
    """The error of one field.

    Attributes:
        path: names and indexes that lead from the root to the field; empty for the root itself.
        type: pydantic's stable name of the error, such as `missing`.
        message: what is wrong, to be read after the field's name; never holds the field's value.
    """

    path: tuple[str | int, ...]
    type: str
    message: str

    @property
    def field(self) -> str | None:
        """The path with dots between its parts, or `None` for the root."""
        return ".".join(str(part)[:_MAX_NAME_CHARS] for part in self.path) or None


def first_error(error: ValidationError) -> FieldError:
    """Return the first unknown field, or else the first field that pydantic found wrong.

    An unknown field goes first, because its misspelt name is why another field is missing.
    """
    found = [_field_error(line) for line in error.errors(include_input=False, include_url=False)]
    return next((one for one in found if one.type == _UNKNOWN), found[0])


def _field_error(line: ErrorDetails) -> FieldError:
    path = tuple(part for part in line["loc"] if part != "[key]")
    if line["type"] == _NESTED:
        nested: FieldError = line["ctx"]["first"]
        return nested._replace(path=path + nested.path)
    message = _NOISE.sub("", line["msg"]).replace("should ", "must ", 1)
    message = _MESSAGES.get(line["type"], message)
    if line["type"] == "string_pattern_mismatch":
        message = FORMS.get(line["ctx"]["pattern"], message)
    return FieldError(path, line["type"], message)


def _with_known_fields(first: FieldError, model: type[BaseModel]) -> FieldError:
    """Return the error; an unknown field of this model gets the name that may have been meant."""
    if first.type != _UNKNOWN or len(first.path) != 1:
        return first
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

    names = [info.alias or name for name, info in model.model_fields.items()]
    close = get_close_matches(str(first.path[0])[:_MAX_NAME_CHARS], names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(names)}"
    kind = getattr(model.model_fields.get("kind"), "default", None)
    owner = kind if kind in KINDS else model.__name__.lower()
    return first._replace(message=f"is not a field of {owner}; {hint}")


def explain(error: ValidationError) -> InvalidJob:
    """Return the first error as `InvalidJob` or `TooLong`, with no content of the job in it."""
    return _as_error(first_error(error))


def _as_error(first: FieldError) -> InvalidJob:
    if first.type in {_UNKNOWN_TAG, "union_tag_not_found"}:
        if "questions" in first.path:
            field = ".".join(str(part) for part in (*_without_tags(first.path), "type"))
            return InvalidJob("must be one of predicate, choice, score", field=field)
        return InvalidJob(f"must be one of {', '.join(KINDS)}", field="kind")
    too_long = first.type in {"string_too_long", "too_long", "bytes_too_long"}
    unknown = first.type == _UNKNOWN
    message = f"{first.message} (`forebay schema` prints all fields)" if unknown else first.message
    return (TooLong if too_long else InvalidJob)(message, field=_public_field(first.path))


def _public_field(path: Sequence[str | int]) -> str | None:
    """Return the path up to the first name that the caller chose: such a name is content."""
    ours = takewhile(
        lambda part: isinstance(part, int) or _OUR_NAME.fullmatch(part), _without_tags(path)
    )
    parts = [str(part) for part in ours]
    if "metadata" in parts:
        parts = parts[: parts.index("metadata") + 1]
    return ".".join(parts) or None


def _without_tags(path: Sequence[str | int]) -> list[str | int]:
    """Return the path as the caller wrote it, from the request on.

    Pydantic names which alternative of a union it took: the kind, the type of a question, or the
    form of a label.
    """
    parts = list(path)
    if len(parts) > 1 and parts[0] in {"request", "content"} and parts[1] in KINDS:
        del parts[1]
    elif len(parts) > 1 and parts[0] in KINDS:
        del parts[0]
    if len(parts) > 1 and parts[0] == "request":
        del parts[0]
    for name in ("questions", "labels", "choices", "levels"):
        place = parts.index(name) + 2 if name in parts else len(parts)  # after the name, an index
        if len(parts) > place:
            del parts[place]
    return parts


def model_and_revision(model: str | None, revision: str | None) -> str:
    """Return a model and its revision; the name alone if they are the same, as on Bedrock."""
    return " ".join(dict.fromkeys(filter(None, (model, revision))))
