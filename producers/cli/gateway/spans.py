"""Spans of time as arguments of commands: 30s, 5m, 12h, 90d."""

from __future__ import annotations

from datetime import timedelta

from forebay.routing.errors import Misconfigured
from forebay.routing.terminal.spans import DAY_S, seconds_of

MAX_DAYS = 1_000_000  # of a span; no clock counts so far


def read_span(text: str | None, option: str) -> timedelta | None:
    """Return the span; `None` if the option was not given.

    Raises:
        Misconfigured: The text is no span.
    """
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is None or seconds >= MAX_DAYS * DAY_S:
        raise Misconfigured("must be a span like 30s, 5m, 12h or 90d", field=option)
    return timedelta(seconds=seconds)
