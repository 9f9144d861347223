"""The template of a bulk: how each row becomes a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from forebay.producers.bulk.names import meant, nearest, shown
from forebay.producers.bulk.rows import BadRow, RawRow, TemplatedRow
from forebay.producers.bulk.sources.source import Source
from forebay.producers.bulk.templates.cells import BadCell, egress_of, key_of, model_of
from forebay.producers.bulk.templates.options import refuse, requests_of_columns
from forebay.producers.bulk.templates.requests_of_columns import Filled
from forebay.producers.bulk.templates.requests_of_jobs import JobRequests
from forebay.producers.bulk.templates.shared_files import read_labels, read_schema
from forebay.routing.base import Egress, Kind
from forebay.routing.errors import InvalidJob

SURELY_MEANT = 0.8  # likeness to a name that is no column, although rows may lack that column


class Requests(Protocol):
    """Makes the request of a row."""

    @property
    def columns(self) -> Sequence[tuple[str, str]]:
        """The columns that are read, each after the option that names it."""

    @property
    def answer_model(self) -> type[BaseModel] | None:
        """The pydantic model class that was given as the schema, if any."""

    def fill(self, fields: dict[str, Any]) -> Filled:
        """Return the request of a row. Raises `BadCell`."""


class Template:
    """Makes a request of each row. `Template.of` makes the template itself.

    Attributes:
        spec: the arguments of `of` as JSON, with files read: `Template.of(**spec)` is the same
            template in another process.
        columns: the columns that are read; `None` if all are.
        key_column: the column with the row's key, or `None`.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        spec: dict[str, Any],
        key: str | None,
        egress: Egress,
        egress_column: str | None,
    ) -> None:
        self.spec = spec
        self._requests = requests
        self.key_column = key
        self._egress, self._egress_column = egress, egress_column
        named = [*(column for _, column in requests.columns), key, egress_column]
        needed = frozenset(column for column in named if column is not None)
        self.columns = needed if requests.columns else None

    @property
    def answer_model(self) -> type[BaseModel] | None:
        """The pydantic model class that was given as the schema, if any."""
        return self._requests.answer_model

    @classmethod
    def of(
        cls,
        kind: Kind | None = None,
        *,
        text_field: str | None = None,
        text: str | None = None,
        system: str | None = None,
        user: str | None = None,
        key: str | None = None,
        egress: Egress = "deny",
        egress_column: str | None = None,
        tenant: str = "default",
        **shared: Any,
    ) -> Template:
        """Make a template.

        Args:
            kind: the kind of all requests. `None` means that each row is a job already: an object
                with a `kind` or a `request`, and perhaps an `egress` and a local `model`.
            text_field: the column with the text; `text` by default. For `embed` it may also hold
                lists of texts.
            text: a form for the text instead, such as `{title}: {body}`.
            system: a form for the first message of `generate`, which says how to answer.
            user: a form for the last message of `generate`, which asks.
            key: the column with the row's key; without it a row is known by its number.
            egress: whether rows may leave the building, unless they say so themselves.
            egress_column: a column with `deny` or `allow`; a row without a value may not leave.
            tenant: the tenant of the bulk, for rows that are jobs and name one.
            shared: the other fields of the request, the same for all rows: `labels` (also a file
                with one name a line, or with a JSON array), `schema` (also a file), `max_words`,
                `temperature` and so on.

        Raises:
            InvalidJob: An argument is wrong; the error names it.
        """
        given = {
            "kind": kind, "text_field": text_field, "text": text, "system": system, "user": user,
            "key": key, "egress": egress, "egress_column": egress_column, "tenant": tenant,
        }  # fmt: skip
        _check_given(given)
        forms = {name: given[name] for name in ("text_field", "text", "system", "user")}
        requests: Requests
        if kind is None:
            refuse({**forms, **shared}, "needs a kind: without one, rows are jobs")
            requests = JobRequests(tenant=tenant, key=key)
        else:
            requests = requests_of_columns(kind, _read_files(shared), **forms)
            shared = {name: requests.common[name] for name in requests.common if name != "kind"}
        spec = {name: value for name, value in given.items() if value is not None} | shared
        return cls(requests, spec=spec, key=key, egress=egress, egress_column=egress_column)

    def check(self, source: Source) -> None:
        """Check that the source has the columns that the template names.

        Raises:
            InvalidJob: It lacks one; the error suggests the nearest name.
        """
        present = source.columns()
        if present is None:
            return
        named = [*self._requests.columns, ("key", self.key_column)]
        egress = self._egress_column or ""
        if source.fixed_columns or meant(egress, present, likeness=SURELY_MEANT):
            named.append(("egress_column", self._egress_column))
        for option, column in named:
            if column is not None and column not in present:
                wrong = f"{source.name} has no column {shown(column)!r}"
                raise InvalidJob(f"{wrong}; {nearest(column, present)}", field=option)
        if self.columns is None and not {"kind", "request"} & set(present):
            raise InvalidJob(
                f"is missing, and the rows of {source.name} are no jobs with a `kind` of their "
                "own: name the kind of all rows, such as classify",
                field="kind",
            )

    def row(self, raw: RawRow, *, file: str = "", name: str | None = None) -> TemplatedRow | BadRow:
        """Return the request of a row, or why there is none.

        Args:
            raw: the row as read.
            file: the name of its file, for a bad row.
            name: the row's key if the template names no column with one.
        """
        number, line, fields, end = raw
        key, model = name, None
        try:
            if self.key_column is not None:
                key = key_of(fields, self.key_column)
            egress = self._egress
            if self._egress_column is not None:
                egress = egress_of(fields, self._egress_column)
            elif self.columns is None and "egress" in fields:
                egress = egress_of(fields, "egress")
            if self.columns is None and self.key_column != "model" and "model" in fields:
                model = model_of(fields, "model")
            kind, common, varying = self._requests.fill(fields)
        except BadCell as error:
            return BadRow(number, line, error.column, error.reason, end, key, file)
        return TemplatedRow(number, line, kind, egress, key, common, varying, end, model)

    def keyed(self, bad: BadRow) -> BadRow:
        """Return a bad row with its key, if enough of the row could be read."""
        if self.key_column is None or not bad.fields or bad.column == self.key_column:
            return bad
        try:
            key = key_of(bad.fields, self.key_column)
            key.encode()
        except (BadCell, UnicodeEncodeError):  # no key, or bytes that are not UTF-8
            return bad
        return bad._replace(key=key)


def _check_given(given: dict[str, Any]) -> None:
    """Raise `InvalidJob` if a name or a form is no text, or the egress is wrong."""
    for name in ("text_field", "text", "system", "user", "key", "egress_column"):
        if not isinstance(given[name], str | None):
            raise InvalidJob("must be text", field=name)
    _check_egress(given["kind"], given["egress"], given["egress_column"])


def _check_egress(kind: Kind | None, egress: str, column: str | None) -> None:
    if egress not in {"deny", "allow"}:
        raise InvalidJob("must be deny or allow", field="egress")
    if column is not None and egress == "allow":
        raise InvalidJob(
            "cannot be combined with egress=allow, which holds for all rows", field="egress_column"
        )
    if column is not None and kind is None:
        raise InvalidJob("needs a kind: a row that is a job has `egress`", field="egress_column")


def _read_files(shared: dict[str, Any]) -> dict[str, Any]:
    read = dict(shared)
    if "labels" in read:
        read["labels"] = read_labels(read["labels"])
    if "schema" in read:
        read["schema"] = read_schema(read["schema"])
    return read
