"""Forebay's own fields, which a request of any wire format may carry: as headers or in its body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from pydantic import Field

from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.wire import Body
from forebay.routing.base import Egress
from forebay.routing.jobs import Pin, Priority
from forebay.routing.json_tree import unique

#: The headers, and the field of `Own` that each sets.
HEADERS = {
    "forebay-egress": "egress",
    "forebay-lane": "lane",
    "forebay-priority": "priority",
    "forebay-deadline": "deadline",
    "forebay-max-cost-usd": "max_cost_usd",
    "forebay-cache": "cache",
    "forebay-metadata": "metadata",
    "idempotency-key": "idempotency_key",
}
_PREFIX = "forebay-"  # of our own headers: a mistyped one would change nothing, in silence
MAX_NAME_SHOWN = 60  # characters of an unknown header in its error
_SPAN = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BOOL = {"true": True, "1": True, "false": False, "0": False}


class Own(Body):
    """The object `forebay` of a request's body; see `forebay.Job` for the meaning of its fields.

    Attributes:
        deadline: a time with a time zone, or a span from now, such as `30s`, `5m`, `2h` or `1d`.
        labels: what `forebay/classify` chooses from.
        max_words, focus: of `forebay/summarize`.
    """

    egress: Egress | None = None
    lane: Pin | None = None
    priority: Priority | None = None
    deadline: str | None = None
    max_cost_usd: float | None = None
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200)
    cache: bool | None = None
    metadata: dict[str, str] | None = None
    labels: list[Any] | None = Field(default=None, max_length=100)
    max_words: int | None = None
    focus: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the fields that belong to a job, without those that were not given."""
        given = self.model_dump(exclude_none=True, exclude={"labels", "max_words", "focus"})
        if (deadline := given.get("deadline")) is not None:
            given["deadline"] = _deadline(deadline)
        return given


NOTHING = Own()


def job_options(headers: Mapping[str, str], own: Own | None = None) -> dict[str, Any]:
    """Return the options of a job: from the headers, and over them from the body.

    Raises:
        InvalidRequest: A header cannot be read, or is not one of ours.
    """
    for name in headers:
        if name.startswith(_PREFIX) and name not in HEADERS:
            raise InvalidRequest(_unknown(name), field=name[:MAX_NAME_SHOWN])
    given = {field: _as_sent(headers[name]) for name, field in HEADERS.items() if name in headers}
    options: dict[str, Any] = {
        field: _READERS.get(field, str)(value) for field, value in given.items()
    }
    return options | own.options() if own else options


def _as_sent(value: str) -> str:
    """Return a header as clients send text, in UTF-8; Starlette reads all headers as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _unknown(name: str) -> str:
    close = get_close_matches(name[:MAX_NAME_SHOWN], HEADERS, n=1)
    return f"is not a header that Forebay knows{f'; did you mean {close[0]}?' if close else ''}"


def span(text: str) -> timedelta | None:
    """Return a span like `30s`, `5m`, `2h` or `1d`; `None` if the text is none."""
    match = _SPAN.fullmatch(text)
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]]) if match else None


def _deadline(text: str) -> str | timedelta:
    return span(text) or text


def _cost(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest("must be a number of dollars", field="forebay-max-cost-usd") from None


def _cache(text: str) -> bool:
    if text.lower() not in _BOOL:
        raise InvalidRequest("must be true or false", field="forebay-cache")
    return _BOOL[text.lower()]


def _metadata(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique)
    except ValueError:
        raise InvalidRequest(
            "must be a JSON object, without a name that occurs twice", field="forebay-metadata"
        ) from None


_READERS = {
    "deadline": _deadline, "max_cost_usd": _cost, "cache": _cache, "metadata": _metadata,
}  # fmt: skip
