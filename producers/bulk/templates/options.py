"""Makes requests of columns from the options of a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from forebay.producers.bulk.templates.form import Form
from forebay.producers.bulk.templates.requests_of_columns import (
    ColumnRequests,
    from_chat,
    from_column,
    from_form,
)
from forebay.producers.bulk.templates.varying import REQUESTS
from forebay.routing.base import Kind
from forebay.routing.errors import InvalidJob

#: The column that holds the text if none is named.
DEFAULT_TEXT_FIELD = "text"


def requests_of_columns(
    kind: Kind,
    shared: dict[str, Any],
    *,
    text_field: str | None,
    text: str | None,
    system: str | None,
    user: str | None,
) -> ColumnRequests:
    """Return what fills the requests of one kind.

    Args:
        kind: the kind of the requests.
        shared: the fields that all requests share.
        text_field: the column with the text.
        text: a form for the text instead.
        system: a form of the first message of `generate`.
        user: a form of the last message of `generate`.

    Raises:
        InvalidJob: An option is wrong, missing, or not for this kind.
    """
    if kind not in REQUESTS:
        raise InvalidJob(f"must be one of {', '.join(REQUESTS)}", field="kind")
    if kind == "generate":
        refuse({"text_field": text_field, "text": text}, "is not for generate: give user")
        return _chats(kind, shared, system, user)
    refuse({"system": system, "user": user}, f"is for generate, not for {kind}")
    if text is None:
        column = text_field or DEFAULT_TEXT_FIELD
        columns = [("text_field", column)]
        return ColumnRequests(
            kind, shared, from_column(kind, column), columns=columns, blame=column
        )
    if text_field is not None:
        raise InvalidJob("cannot be combined with text_field", field="text")
    form = Form(text, option="text")
    return _with_forms(kind, shared, from_form(kind, form), {"text": form})


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Raise `InvalidJob` for the first option that was given."""
    for option, value in options.items():
        if value is not None:
            raise InvalidJob(reason, field=option)


def _chats(
    kind: Kind, shared: dict[str, Any], system: str | None, user: str | None
) -> ColumnRequests:
    if user is None:
        raise InvalidJob("is missing: give the message, such as '{body}'", field="user")
    forms = {"user": Form(user, option="user")}
    if system is not None:
        forms["system"] = Form(system, option="system")
    return _with_forms(kind, shared, from_chat(forms.get("system"), forms["user"]), forms)


def _with_forms(
    kind: Kind,
    shared: dict[str, Any],
    content: Callable[[dict[str, Any]], Any],
    forms: dict[str, Form],
) -> ColumnRequests:
    """Return requests from forms, which must name at least one column."""
    columns = [(option, column) for option, form in forms.items() for column in form.columns]
    if not columns:
        raise InvalidJob(
            "must name a column in braces, or each row would ask the same", field=next(iter(forms))
        )
    blame = columns[0][1] if len(columns) == 1 else None
    return ColumnRequests(kind, shared, content, columns=columns, blame=blame)
