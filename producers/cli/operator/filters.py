"""The options by which an operator chooses jobs."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from forebay.producers.cli import display
from forebay.routing.terminal.options import option, tenant_option
from forebay.routing.terminal.spans import seconds_of

if TYPE_CHECKING:
    from forebay.routing.overview.job_filter import JobFilter


States = Annotated[
    list[str] | None,
    option(
        "--state",
        "STATE",
        "Only jobs that are waiting, running, done, failed, cancelled or expired. Repeat it.",
    ),
]
Queue = Annotated[str | None, option("--queue", "NAME", "Only this queue.")]
Tenant = Annotated[
    str | None,
    tenant_option(
        "Only this tenant. Default: FOREBAY_TENANT, else all, for the operator's Redis user."
    ),
]
Kind = Annotated[str | None, option("--kind", "KIND", "Only this kind.")]
Code = Annotated[str | None, option("--code", "CODE", "Only jobs whose last error is this.")]
Older = Annotated[
    str | None,
    option("--older", "AGE", "Only jobs that ended (or came) at least 30s, 5m, 2h or 1d ago."),
]
Newer = Annotated[
    str | None, option("--newer", "AGE", "Only jobs that ended (or came) at most so long ago.")
]
LookAt = Annotated[
    int, option("--look-at", "N", "Read at most N records of jobs.", min=1, max=10_000_000)
]


def job_filter(
    *,
    states: list[str] | None = None,
    queue: str | None = None,
    tenant: str | None = None,
    kind: str | None = None,
    code: str | None = None,
    older: str | None = None,
    newer: str | None = None,
) -> JobFilter:
    """Return the filter that the options name.

    Raises:
        BadParameter: Names the option that is wrong.
    """
    from forebay.routing.base import KINDS  # noqa: PLC0415 - `forebay --help` answers at once
    from forebay.routing.overview.job_filter import JobFilter  # noqa: PLC0415 - as above
    from forebay.routing.receipts import JobState  # noqa: PLC0415 - as above

    for state in states or ():
        _check("--state", state, get_args(JobState))
    if kind is not None:
        _check("--kind", kind, KINDS)
    if code is not None:
        _check_code(code)
    return JobFilter(
        states=frozenset(states or ()), queue=queue, kind=kind, code=code,
        tenant=tenant or os.environ.get("FOREBAY_TENANT"),
        older_s=_seconds("--older", older), newer_s=_seconds("--newer", newer),
    )  # fmt: skip


def describe(wanted: JobFilter) -> str:
    """Return the filter in words that follow "jobs"; empty if it chooses all."""
    words = [
        ("of tenant", wanted.tenant), ("of kind", wanted.kind), ("with code", wanted.code),
        ("in queue", wanted.queue), ("in state", " or ".join(sorted(wanted.states)) or None),
        ("older than", wanted.older_s and display.duration(wanted.older_s)),
        ("newer than", wanted.newer_s and display.duration(wanted.newer_s)),
    ]  # fmt: skip
    return "".join(f" {word} {value}" for word, value in words if value is not None)


def _check(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"must be one of {', '.join(allowed)}", param_hint=f"'{option}'")


def _check_code(code: str) -> None:
    """Refuse a code that is probably mistyped; other unknown codes may be of an older release."""
    from forebay.routing import errors  # noqa: PLC0415 - `forebay --help` answers at once

    codes = {one.code for one in vars(errors).values() if hasattr(one, "code")}
    close = get_close_matches(code, codes, n=1, cutoff=0.8)
    if close and code not in codes:
        raise typer.BadParameter(f"did you mean {close[0]}?", param_hint="'--code'")


def _seconds(option: str, text: str | None) -> float | None:
    """Return the seconds of an age such as `90s`, `5m`, `2h` or `1d`."""
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is None:
        raise typer.BadParameter("must be 30s, 5m, 2h or 1d", param_hint=f"'{option}'")
    return seconds
