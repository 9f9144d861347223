"""The base of all typed values: a frozen model, field types that validate themselves, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from contextvars import ContextVar
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, cast, get_args
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from forebay.routing import json_tree
from forebay.routing.errors import InvalidJob, TooLong

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_TEXT = 500_000  # characters; several times the context of any local model
MAX_SCHEMA_BYTES = 65_536  # as JSON
MAX_SCHEMA_DEPTH = 48  # levels; far below what a JSON parser or a validator can take
#: Keywords that may stand beside a `$ref` at the root without saying anything of the data.
_BESIDE_ROOT_REF = frozenset(
    {"$ref", "$defs", "definitions", "$schema", "$id", "title", "description", "$comment"}
)
MAX_SCHEMA_NODES = 5_000  # objects, lists and values
MAX_SCHEMA_LIST = 1_000  # entries of one list, such as the options of an `enum`
_MAX_NAME_CHARS = 60  # of a field's name in an error message

NANO = 1_000_000_000  # money is counted in whole billionths of a dollar

Egress = Literal["deny", "allow"]
Kind = Literal["classify", "extract", "summarize", "generate", "embed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]

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
    def _explain(cls, data: Any, handler: Any) -> Self:
        inside_another = _validating.get()
        token = _validating.set(True)
        try:
            return cast("Self", handler(data))
        except ValidationError as error:
            first = _with_known_fields(first_error(error), cls)
        finally:
            _validating.reset(token)
        if inside_another:  # the outer value knows the path that leads to this one
            raise PydanticCustomError(_NESTED, "is wrong", {"first": first})
        raise _as_error(first)


#: Whether this thread or task is validating a `FrozenModel` now.
_validating: ContextVar[bool] = ContextVar("validating", default=False)


# --- validation errors --------------------------------------------------------------------------

_UNKNOWN = "extra_forbidden"
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
_FORMS = {
    TENANT: "must be lower-case letters, digits, - and _, at most 63, and begin with a letter or "
    "a digit",
    JOB_ID: "must be a tenant's name, a dot and 32 hexadecimal digits",
}


class FieldError(NamedTuple):
    """What is wrong with one field.

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
        message = _FORMS.get(line["ctx"]["pattern"], message)
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
    if first.type in {"union_tag_invalid", "union_tag_not_found"}:
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

    Pydantic names which alternative of a union it took: the kind, or the form of a label.
    """
    parts = list(path)
    if len(parts) > 1 and parts[0] in {"request", "content"} and parts[1] in KINDS:
        del parts[1]
    elif len(parts) > 1 and parts[0] in KINDS:
        del parts[0]
    if len(parts) > 1 and parts[0] == "request":
        del parts[0]
    if len(parts) > 2 and parts[0] == "labels":  # noqa: PLR2004 - labels, an index, the form
        del parts[2]
    return parts


# --- JSON Schemas and regular expressions -------------------------------------------------------


def _checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema as plain JSON, with older dialects translated to draft 2020-12.

    Raises:
        ValueError: It is not a JSON Schema, or a validator would have to fetch a part of it, or a
            reference or a regular expression in it is broken.
        TooLong: It is larger than `MAX_SCHEMA_BYTES`, `MAX_SCHEMA_NODES` or `MAX_SCHEMA_LIST`.
    """
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - takes 30 ms

    plain = _in_draft_2020(_plain_json(schema))
    if any(not ref.startswith("#") for ref in _references(plain)):
        raise ValueError("every $ref must point into the schema itself (#/...)")
    for path, node in json_tree.subschemas(plain):
        _check_references(path, node, plain)
        _check_patterns(path, node)
    try:
        Draft202012Validator.check_schema(plain)
    except SchemaError as error:
        path = _schema_path(error.absolute_path, Draft202012Validator.VALIDATORS)
        raise ValueError(f"is not a JSON Schema (draft 2020-12), at /{path}") from None
    except (ArithmeticError, RecursionError):  # raised by a pattern that `re` cannot compile
        raise ValueError("has a pattern that cannot be used") from None
    return plain


def _in_draft_2020(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema in draft 2020-12: keywords of OpenAPI 3.0 and of draft 7 are translated.

    A root that is only a `$ref`, as that of a recursive pydantic model, is written out.
    """
    translated: dict[str, Any] = json_tree.map_schema(schema, _translated)
    root = translated
    for _ in range(MAX_SCHEMA_DEPTH):
        if not isinstance(root.get("$ref"), str) or root.keys() - _BESIDE_ROOT_REF:
            break
        target = _target(root["$ref"], translated)
        if not isinstance(target, dict) or target is translated:
            break
        root = {**{key: root[key] for key in root if key != "$ref"}, **target}
    return root


def _translated(node: dict[str, Any]) -> dict[str, Any]:
    """Return a subschema without `nullable`, boolean exclusive bounds and a list as `items`."""
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


def _check_references(path: str, node: dict[str, Any], root: dict[str, Any]) -> None:
    """Raise `ValueError` if a reference of this subschema points to nothing, or to itself."""
    if "$id" in node:  # its references start from another root
        return
    for keyword in ("$ref", "$dynamicRef"):
        part: Any = node
        for _ in range(MAX_SCHEMA_DEPTH):
            if not isinstance(part, dict) or not isinstance(part.get(keyword), str):
                break
            part = _target(part[keyword], root)
            if part is None:
                raise ValueError(f"has a {keyword} that points to nothing, at {path}/{keyword}")
        else:
            raise ValueError(f"has a {keyword} that leads back to itself, at {path}/{keyword}")


def _target(reference: str, root: dict[str, Any]) -> Any:
    """Return the part of a schema that a reference points to, or `None` if there is none."""
    fragment = unquote(reference.removeprefix("#"))
    if fragment and not fragment.startswith("/"):
        anchors = ("$anchor", "$dynamicAnchor")
        return next(
            (part for _, part in json_tree.subschemas(root)
             if fragment in [part.get(anchor) for anchor in anchors]), None,
        )  # fmt: skip
    node: Any = root
    for step in fragment.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            node = node[int(name)] if name.isdecimal() and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict | bool) else None


def _check_patterns(path: str, node: dict[str, Any]) -> None:
    """Raise `ValueError` if Python cannot read a regular expression of this subschema."""
    named = node.get("patternProperties")
    patterns = [("patternProperties", name) for name in named] if isinstance(named, dict) else []
    for keyword, pattern in [*patterns, ("pattern", node.get("pattern"))]:
        if isinstance(pattern, str) and not _compiles(pattern):
            place = f"{path}/{keyword}"
            raise ValueError(f"has a regular expression that Python cannot read, at {place}")


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


def _schema_path(path: Iterable[str | int], keywords: Container[str]) -> str:
    """Return the path with `*` for each name that is not a keyword: such a name is content."""
    return "/".join(
        str(part) if isinstance(part, int) or part in keywords else "*" for part in path
    )


def _checked_regex(pattern: str) -> str:
    if not _compiles(pattern):
        raise ValueError("is not a regular expression")
    return pattern


def _not_a_class(schema: Any) -> Any:
    if isinstance(schema, type):
        hint = "`Extract` takes a model class and gives an instance back"
        raise InvalidJob(
            f"must be a JSON Schema, not a class, because the answer is text; {hint}. Or give "
            "Model.model_json_schema()",
            field="schema",
        )
    return schema


JsonSchema = Annotated[
    dict[str, Any], BeforeValidator(_not_a_class), AfterValidator(_checked_schema)
]
RegexPattern = Annotated[Short, AfterValidator(_checked_regex)]
