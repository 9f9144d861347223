"""What the command line prints: answers and documents on stdout, everything else on stderr.

An answer is text of a model: on a terminal its control characters are taken out, so that it cannot
move the cursor, rename the window or type.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.exceptions import TyperException

from forebay.routing.errors import CallerError, ForebayError, Unavailable

if TYPE_CHECKING:
    from forebay.routing.diagnostics import Finding
    from forebay.routing.jobs import Answer, Receipt

DEBUG = "FOREBAY_DEBUG"
MISTAKE = 2
FAILURE = 1
INTERRUPTED = 130

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


class Trouble(NamedTuple):
    """An error as the user meets it."""

    code: str
    field: str | None
    message: str
    exit_code: int


def document(data: Any) -> None:
    """One JSON document on stdout; ASCII, so that no terminal and no pipe can spoil it."""
    print(json.dumps(data))  # noqa: T201 - this is what a command line is for


def text(line: str) -> None:
    """A line for people on stdout."""
    if sys.stdout.isatty():
        line = "".join(char for char in line if char.isprintable() or char in "\n\t")
    print(line)  # noqa: T201


def note(line: str) -> None:
    """A line for people on stderr."""
    typer.echo(f"forebay: {line}", err=True)


def answer(given: Answer, *, as_json: bool) -> None:
    """The content on stdout, and on stderr how it was made; or all of it as JSON."""
    if as_json:
        document(given.model_dump(mode="json"))
        return
    text(content(given))
    note(how(given.receipt))


def finding(found: Finding) -> None:
    """One line of `forebay doctor`, and a second one where there is something to mend."""
    mark = typer.style(f"{found.state:4}", fg=_COLOURS[found.state])
    typer.echo(f"{mark}  {found.name:19}  {found.seen}")
    if found.mend:
        typer.echo(f"{'':27}-> {found.mend}")


def content(given: Answer) -> str:
    """The content for people: JSON where it is data, the text itself where it is text."""
    inner = given.content
    if inner.kind == "classify":
        sure = "" if inner.probability is None else f"\t{inner.probability:.3f}"
        return f"{inner.label}{sure}"
    if inner.kind == "extract":
        return json.dumps(inner.data, indent=2, ensure_ascii=False)
    if inner.kind == "embed":
        return "\n".join(json.dumps(vector) for vector in inner.vectors)
    return inner.text


def how(receipt: Receipt) -> str:
    """How an answer was made, in one line."""
    marks = [name for name in ("degraded", "cached", "stand_in") if getattr(receipt, name)]
    parts = [
        f"{receipt.lane} ({receipt.reason or 'no reason given'})",
        f"{receipt.model or 'no model'} {receipt.revision or ''}".strip(),
        f"{receipt.tokens_in} tokens in, {receipt.tokens_out} out",
        f"${receipt.cost_usd:.6f}",
        f"{receipt.total_s:.1f} s",
        *marks,
    ]
    return " · ".join(parts)


def trouble(error: BaseException) -> Trouble:
    """What to tell the user of an error. Of one that nobody foresaw: its type and place only.

    Its message may hold content of a job; with FOREBAY_DEBUG=1 the whole traceback is printed.
    """
    if isinstance(error, ForebayError):
        mistake = isinstance(error, CallerError)
        hint = "; `forebay doctor` says where" if isinstance(error, Unavailable) else ""
        exit_code = MISTAKE if mistake else FAILURE
        return Trouble(error.code, error.field, error.message + hint, exit_code)
    if isinstance(error, TimeoutError):
        return Trouble("timeout", None, str(error), FAILURE)
    if isinstance(error, TyperException):
        return Trouble("usage", None, error.format_message(), error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Trouble("interrupted", None, "stopped by you", INTERRUPTED)
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}"
    message = f"{type(error).__name__} at {place}; {DEBUG}=1 shows more, maybe content too"
    return Trouble("internal", None, message, FAILURE)


def complain(error: BaseException, *, as_json: bool) -> int:
    """Tell the user of an error, in one line or one document. Returns the exit code."""
    told = trouble(error)
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    if as_json:
        document({"error": {"code": told.code, "field": told.field, "message": told.message}})
    elif isinstance(error, TyperException) and hasattr(error, "show"):
        error.show()  # with the usage line
    else:
        note(": ".join(part for part in (told.code, told.field, told.message) if part))
    return told.exit_code
