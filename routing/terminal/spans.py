"""Spans of time, as arguments of commands name them."""

from __future__ import annotations

import re

DAY_S = 86_400
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S, "w": 7 * DAY_S}


def seconds_of(span: str, units: str = "smhd") -> float | None:
    """Return the seconds of a span such as 30s, 5m, 2h or 1d; `None` if the text is none.

    With `w` among the units it may be so many weeks too.
    """
    match = _SPAN.fullmatch(span)
    return float(match[1]) * _SECONDS[match[2]] if match and match[2] in units else None
