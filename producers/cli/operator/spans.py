"""Spans of time, as the options of commands name them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from forebay.routing.terminal.options import option
from forebay.routing.terminal.spans import seconds_of

Since = Annotated[
    str,
    option(
        "--since",
        "WHEN",
        "From then on: 2h, 7d or 4w ago, a day like 2026-11-01 (UTC), or an ISO time.",
    ),
]
Until = Annotated[str | None, option("--until", "WHEN", "Up to then, likewise. Default: now")]


def moment(text: str, option: str = "--since") -> float:
    """Return a moment since 1970 as Unix seconds: so long ago, or at an ISO day or time (UTC).

    Raises:
        BadParameter: Names the option.
    """
    if (ago_s := seconds_of(text, "smhdw")) is not None:
        return max(0.0, time.time() - ago_s)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "must be a span like 2h, 7d or 4w, a day like 2026-11-01, or an ISO time",
            param_hint=option,
        ) from None
    return max(0.0, (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def between(since: str, until: str | None) -> tuple[float, float]:
    """Return the ends of a span of time, in Unix seconds.

    Raises:
        BadParameter: Names the option that is wrong.
    """
    start = moment(since)
    end = time.time() if until is None else moment(until, "--until")
    if start >= end:
        raise typer.BadParameter("must be earlier than --until", param_hint="--since")
    return start, end
