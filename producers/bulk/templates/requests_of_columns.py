"""Makes requests of one kind from the columns of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from forebay.producers.bulk.templates.cells import BadCell, cell
from forebay.producers.bulk.templates.form import Form
from forebay.producers.bulk.templates.varying import check_of, varying_field
from forebay.routing.base import Kind
from forebay.routing.errors import InvalidJob
from forebay.routing.requests import AnyRequest, parse_request


class Filled(NamedTuple):
    """A request in two parts: what it shares with other rows, and its own content."""

    kind: Kind
    common: dict[str, Any]
    varying: dict[str, Any]


class ColumnRequests:
    """Fills the requests of one kind from columns; all else is the same in each row.

    Args:
        kind: the kind of the requests.
        shared: the fields that all requests share, such as labels or a schema.
        content: makes the content of a row from its fields.
        columns: the columns that `content` reads, each after the option that names it.
        blame: the column that a wrong content is reported under.

    Raises:
        InvalidJob: A shared field is wrong; the error names it.
    """

    def __init__(
        self,
        kind: Kind,
        shared: dict[str, Any],
        content: Callable[[dict[str, Any]], Any],
        *,
        columns: Sequence[tuple[str, str]],
        blame: str | None,
    ) -> None:
        name = varying_field(kind)
        if name is None:
            raise InvalidJob(
                f"{kind} has no text to fill from a column: give rows that are jobs", field="kind"
            )
        request = parse_request({"kind": kind, **shared, name: _EXAMPLES.get(kind, "text")})
        self.kind, self.columns = kind, columns
        self.answer_model = getattr(request, "answer_model", None)
        self.common = shared_fields(request, name)
        self._name, self._content, self._blame = name, content, blame
        self._check = check_of(kind, self.common)

    def fill(self, fields: dict[str, Any]) -> Filled:
        """Return the request of a row. Raises `BadCell`."""
        content = self._content(fields)
        try:
            checked = self._check(content)
        except InvalidJob as error:
            raise BadCell(self._blame, error.message) from None
        return Filled(self.kind, self.common, {self._name: checked})


#: A content that is valid for each kind, to check the shared fields with.
_EXAMPLES: dict[str, Any] = {
    "embed": ["text"],
    "generate": [{"role": "user", "content": "text"}],
}


def shared_fields(request: AnyRequest, varying: str) -> dict[str, Any]:
    """Return a request's fields as JSON, without the one that varies and without defaults."""
    fields = request.model_dump(mode="json", by_alias=True, exclude={varying}, exclude_unset=True)
    return {"kind": request.kind, **fields}


def from_column(kind: Kind, column: str) -> Callable[[dict[str, Any]], Any]:
    """Return a function that takes a row's text from one column."""
    if kind != "embed":
        return lambda fields: cell(fields, column)

    def texts(fields: dict[str, Any]) -> Any:
        value = cell(fields, column)
        return [value] if isinstance(value, str) else value

    return texts


def from_form(kind: Kind, form: Form) -> Callable[[dict[str, Any]], Any]:
    """Return a function that fills a row's text into a form."""
    return (lambda fields: [form.fill(fields)]) if kind == "embed" else form.fill


def from_chat(system: Form | None, user: Form) -> Callable[[dict[str, Any]], Any]:
    """Return a function that makes the messages of a chat from forms."""

    def messages(fields: dict[str, Any]) -> list[dict[str, str]]:
        turns = [{"role": "user", "content": user.fill(fields)}]
        if system is not None:
            turns.insert(0, {"role": "system", "content": system.fill(fields)})
        return turns

    return messages
