"""Which field of a request varies from row to row, and how it is checked without the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from forebay.routing.base import FrozenModel, Kind, explain
from forebay.routing.requests import AnyRequest, parse_request

#: The field that holds a row's content, for the kinds that do not call it `text`.
_OTHER_NAMES: dict[str, str] = {"generate": "messages", "embed": "texts", "decide": "state"}

#: Kinds whose content has nothing to do with the other fields, so that it is checked alone. The
#: tests hold this against `parse_request`.
_CHECKED_ALONE = frozenset({"classify", "extract", "summarize", "embed"})

#: Fields that are slow to check and have nothing to do with the content of a row.
_SLOW_FIELDS = frozenset({"schema", "regex"})

REQUESTS: dict[str, type[FrozenModel]] = {
    cls.model_fields["kind"].default: cls for cls in get_args(AnyRequest)
}


def varying_field(kind: Kind) -> str | None:
    """Return the name of the field that holds a row's content; `None` if there is no such field."""
    name = _OTHER_NAMES.get(kind, "text")
    return name if name in REQUESTS[kind].model_fields else None


def check_of(kind: Kind, common: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a function that takes the content of a row and returns it as it is submitted.

    It raises `InvalidJob` for content that would make the request invalid.

    Args:
        kind: the kind of the requests.
        common: the other fields of all requests, which are valid.
    """
    name = varying_field(kind)
    if name is None:
        raise ValueError(f"{kind} has no field that varies alone")
    return _alone(kind, name) if kind in _CHECKED_ALONE else _together(name, common)


def _alone(kind: Kind, name: str) -> Callable[[Any], Any]:
    """Return a check of the one field, by the contract's own type."""
    field = REQUESTS[kind].model_fields[name]
    contract: Any = Annotated[(field.annotation, *field.metadata)]
    validate = TypeAdapter(contract).validator.validate_python

    def check(value: Any) -> Any:
        try:
            checked = validate(value)
        except ValidationError as error:
            mistake = explain(error)
            mistake.field = f"{name}.{mistake.field}" if mistake.field else name
            raise mistake from None
        return checked if type(checked) is str else list(checked)

    return check


def _together(name: str, common: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a check of the whole request, without the fields that take long."""
    quick = {key: common[key] for key in common.keys() - _SLOW_FIELDS}

    def check(value: Any) -> Any:
        parse_request({**quick, name: value})
        return value

    return check
