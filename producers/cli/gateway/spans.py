"""Spans of time as arguments of commands: 30s, 5m, 12h, 90d."""

from __future__ import annotations

import re
from datetime import timedelta

from forebay.routing.errors import Misconfigured

_SPAN = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_span(text: str | None, option: str) -> timedelta | None:
    """Return the span; `None` if the option was not given.

    Raises:
        Misconfigured: The text is no span.
    """
    if text is None:
        return None
    match = _SPAN.fullmatch(text)
    if not match:
        raise Misconfigured("must be a span like 30s, 5m, 12h or 90d", field=option)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
