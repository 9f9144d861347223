"""Takes requests from rows that are jobs already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from forebay.producers.bulk.names import shown
from forebay.producers.bulk.templates.cells import BadCell
from forebay.producers.bulk.templates.requests_of_columns import Filled, shared_fields
from forebay.producers.bulk.templates.varying import REQUESTS, check_of, varying_field
from forebay.routing.base import Kind
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Job
from forebay.routing.requests import parse_request

#: How many different sets of shared fields are remembered. Rows usually have one or two.
MAX_SETS_REMEMBERED = 8

#: What a row may say about its job besides the request.
_OWN_FIELDS = frozenset({"egress", "model", "tenant", "request"})
_REFUSED = frozenset(Job.model_fields) - _OWN_FIELDS


class _Known(NamedTuple):
    """Shared fields that were found valid: as rows have them, as submitted, and their check."""

    given: dict[str, Any]
    common: dict[str, Any]
    check: Callable[[Any], Any]


class JobRequests:
    """Takes the requests of rows that have a `kind`, or a `request` inside.

    Args:
        tenant: the tenant of the bulk. A row that names another tenant is refused.
        key: the column that is the row's key and no field of the job.
    """

    answer_model = None
    columns: tuple[tuple[str, str], ...] = ()  # any column may be a field

    def __init__(self, *, tenant: str, key: str | None) -> None:
        self._tenant = tenant
        self._key = key
        self._kinds: dict[Kind, dict[str, Any]] = {}
        self._known: deque[_Known] = deque(maxlen=MAX_SETS_REMEMBERED)

    def fill(self, fields: dict[str, Any]) -> Filled:
        """Return the request of a row. Raises `BadCell`."""
        request = self._request(fields)
        kind = request.get("kind")
        if not isinstance(kind, str) or kind not in REQUESTS:
            raise BadCell("kind", f"must be one of {', '.join(REQUESTS)}")
        try:
            return self._split(kind, request)  # type: ignore[arg-type]  # one of REQUESTS
        except InvalidJob as error:
            raise BadCell(error.field, error.message) from None

    def _request(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of the request, after a look at all others."""
        rest = {name: fields[name] for name in fields if name not in (self._key, "egress", "model")}
        if rest.pop("tenant", self._tenant) != self._tenant:
            raise BadCell("tenant", f"must be {self._tenant}, the tenant of the bulk, or left out")
        inner = rest.pop("request", None)
        for name in rest:
            if name in _REFUSED:
                hint = "; or name it as the key column" if name == "id" else ""
                raise BadCell(name, f"cannot be set for one row: set it for the whole bulk{hint}")
        if inner is None:
            return rest
        if not isinstance(inner, dict):
            raise BadCell("request", "must be an object")
        for name in rest:
            raise BadCell(shown(name), "is not a field of a job: put it inside request")
        return inner

    def _split(self, kind: Kind, request: dict[str, Any]) -> Filled:
        """Return the request in two parts. Only shared fields that are new are checked in full."""
        name = varying_field(kind)
        if name is None:
            parse_request(request)
            common = self._kinds.setdefault(kind, {"kind": kind})
            return Filled(kind, common, {name: request[name] for name in request if name != "kind"})
        given = {field: request[field] for field in request if field != name}
        for known in self._known:
            if known.given == given and name in request:
                return Filled(kind, known.common, {name: known.check(request[name])})
        common = shared_fields(parse_request(request), name)
        self._known.appendleft(_Known(given, common, check := check_of(kind, common)))
        return Filled(kind, common, {name: check(request[name])})
