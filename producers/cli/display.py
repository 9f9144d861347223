"""Print for the command line: answers and documents on stdout, everything else on stderr.

Answers are text of a model. On a terminal their control characters are removed, so that an answer
cannot move the cursor, rename the window or type.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer
from typer.exceptions import TyperException

from forebay.routing.errors import CallerError, ForebayError, Unavailable, UnknownJob
from forebay.routing.terminal.columns import in_columns

if TYPE_CHECKING:
    from forebay.routing.diagnostics import Finding
    from forebay.routing.jobs import Answer, QuestionAnswer, Receipt

DEBUG = "FOREBAY_DEBUG"
MISTAKE = 2  # exit codes
FAILURE = 1
INTERRUPTED = 130

FINDING_AT = 27  # column at which `doctor` says what it found

MAX_NAME_SHOWN = 60  # characters of what was typed, in an error

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}

#: How typer says that the value of an option has the wrong type.
_LIBRARY_WORDS = re.compile(r"Input should be (?:a valid )?([a-z]+ ?[a-z ]*)(?:, unable to .*)?")
_NO_COMMAND = re.compile(r"No such command '(.*)'\.", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.DOTALL)
_EXTRA_TO_INSTALL = re.compile(r"install the extra `(\w+)`")
_TYPES = {"integer": "a whole number", "number": "a number"}


class Complaint(NamedTuple):
    """An error as it is shown to the user."""

    code: str
    field: str | None
    message: str
    exit_code: int


def document(data: Any) -> None:
    """Print one JSON document on stdout, in ASCII, so that no terminal or pipe can garble it."""
    print(json.dumps(data))  # noqa: T201 - this is what a command line is for


def text(line: str) -> None:
    """Print a line for people on stdout."""
    if sys.stdout.isatty():
        line = "".join(char for char in line if char.isprintable() or char in "\n\t")
    print(line)  # noqa: T201


def result(data: Any, line: str, *, as_json: bool) -> None:
    """Print what a command did: a JSON document, or a line for people."""
    if as_json:
        document(data)
    else:
        text(line)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str] = ()
) -> None:
    """Print rows for people on stdout, below a header, in columns two spaces apart.

    On a terminal that is too narrow the dispensable columns are left out, the first of them first.
    """
    if sys.stdout.isatty():
        header, rows = fitted(header, rows, shutil.get_terminal_size().columns, dispensable)
    for line in in_columns([header, *rows]):
        text(line)


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, dispensable: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return a table without as many of the dispensable columns as do not fit."""
    columns = list(zip(header, *rows, strict=True))
    for name in dispensable:
        if sum(max(map(len, column)) + 2 for column in columns) - 2 <= width:
            break
        columns = [column for column in columns if column[0] != name]
    fitting = [list(line) for line in zip(*columns, strict=True)]
    return fitting[0], fitting[1:]


def duration(seconds: float) -> str:
    """Return a time span for people: `0.4s`, `12s`, `5m`, `3h` or `2d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds >= 1 else f"{seconds:.1f}s"


def moment(unix_s: float) -> str:
    """Return a time for people, UTC: `2026-11-01 12:00:00Z`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def iso(unix_s: float) -> str:
    """Return a time as ISO 8601, UTC, in whole seconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def note(line: str) -> None:
    """Print a line for people on stderr."""
    typer.echo(f"forebay: {line}", err=True)


def answer(given: Answer, *, as_json: bool) -> None:
    """Print the content on stdout and its origin on stderr, or the whole answer as JSON."""
    if as_json:
        document(given.model_dump(mode="json"))
        return
    text(content(given))
    note(origin(given.receipt))


def finding(found: Finding) -> None:
    """Print one line of `forebay doctor`, and a second line if there is something to mend."""
    line = _folded(f"{found.state:4}  {found.name:19}  {found.seen}", FINDING_AT)
    mark = typer.style(f"{found.state:4}", fg=_COLOURS[found.state])
    typer.echo(f"{mark}{line[4:]}")
    if found.mend:
        typer.echo(_folded(f"{'':{FINDING_AT}}-> {found.mend}", FINDING_AT + 3))


def _folded(line: str, indent: int) -> str:
    """Return a line as several ones that fit the terminal; as it is if there is none."""
    if not sys.stdout.isatty():
        return line
    width = max(FINDING_AT + 30, shutil.get_terminal_size().columns)
    parts = textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(parts)


def content(given: Answer) -> str:
    """Return the answer's content for people: data as JSON, text as it is."""
    inner = given.content
    if inner.kind == "classify":
        sure = "" if inner.probability is None else f"\t{inner.probability:.3f}"
        return f"{inner.label}{sure}"
    if inner.kind == "extract":
        return json.dumps(inner.data, indent=2, ensure_ascii=False)
    if inner.kind == "embed":
        return "\n".join(json.dumps(vector) for vector in inner.vectors)
    if inner.kind == "decide":
        return "\n".join(map(_decision, inner.answers))
    return inner.text


def _decision(answer: QuestionAnswer) -> str:
    """Return a question's name, what was chosen, its probability, and the score if there is one."""
    score = "" if answer.score is None else f"\t{answer.score:.2f}"
    return f"{answer.name}\t{answer.chosen}\t{answer.probability:.3f}{score}"


def origin(receipt: Receipt) -> str:
    """Return in one line how an answer was made: lane, model, tokens, cost, time."""
    from forebay.routing.base import model_and_revision  # noqa: PLC0415 - help answers at once

    marks = [name for name in ("degraded", "cached", "stand_in") if getattr(receipt, name)]
    parts = [
        f"{receipt.lane} ({receipt.reason or 'no reason given'})",
        model_and_revision(receipt.model, receipt.revision) or "no model",
        f"{receipt.tokens_in} tokens in, {receipt.tokens_out} out",
        f"${receipt.cost_usd:.6f}",
        f"{receipt.total_s:.1f} s",
        *marks,
    ]
    return " · ".join(parts)


def complaint(error: BaseException) -> Complaint:
    """Return what to show the user of an error.

    Of an unexpected error only the type and place are shown, since its message may hold content of
    a job. With FOREBAY_DEBUG=1 the whole traceback is printed.
    """
    if isinstance(error, ForebayError):
        exit_code = MISTAKE if isinstance(error, CallerError) else FAILURE
        return Complaint(error.code, error.field, error.message + _hint(error), exit_code)
    if isinstance(error, TimeoutError):
        return Complaint("timeout", None, str(error), FAILURE)
    if isinstance(error, TyperException):
        field, message = _usage_mistake(error)
        ctx = getattr(error, "ctx", None)
        hint = f"; see `{ctx.command_path} -h`" if ctx else ""
        return Complaint("usage", field, message + hint, error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Complaint("interrupted", None, "stopped by you", INTERRUPTED)
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}"
    hint = f"set {DEBUG}=1 for a traceback, which may show content of jobs"
    return Complaint("internal", None, f"{type(error).__name__} at {place}; {hint}", FAILURE)


def _usage_mistake(error: Any) -> tuple[str | None, str]:
    """Return the option, argument or command that is wrong, and what is wrong with it."""
    message = _LIBRARY_WORDS.sub(_plain_words, error.message)
    param, option = getattr(error, "param", None), getattr(error, "option_name", None)
    if param is not None:
        option = param.opts[0]
        wanted = f": {param.help[:1].lower()}{param.help[1:].rstrip('.')}" if param.help else ""
        name = option if option.startswith("-") else param.metavar or option.upper()
        return name, message or f"is missing, add it{wanted}"
    if option is not None and hasattr(error, "possibilities"):
        return shortened(option), f"is not an option{_nearest(option, _options(error.ctx))}"
    if option is not None:
        needs = "needs a value after it, or remove the option"
        needs = needs if "requires" in message else "takes no value: remove what stands after ="
        return shortened(option), needs
    if command := _NO_COMMAND.match(message):
        known = error.ctx.command.list_commands(error.ctx)
        return shortened(command[1]), f"is not a command{_nearest(command[1], known)}"
    if extra := _EXTRA.match(message):
        return shortened(extra[1]), "is more than the command takes: remove it, or quote a text"
    return getattr(error, "param_hint", None), message


def _options(ctx: Any) -> list[str]:
    return [name for param in ctx.command.get_params(ctx) for name in param.opts]


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.65)
    return f"; did you mean {close[0]}?" if close else ""


def shortened(name: str) -> str:
    """Return what was typed, on one line and not too long."""
    text = "".join(char if char.isprintable() else "?" for char in name)
    return text if len(text) <= MAX_NAME_SHOWN else f"{text[: MAX_NAME_SHOWN - 1]}…"


def _hint(error: ForebayError) -> str:
    """Return what to look at next, to be appended to the message."""
    if isinstance(error, Unavailable):
        return "; `forebay doctor` says where"
    if extra := _EXTRA_TO_INSTALL.search(error.message):
        return f"; in the folder of Forebay, that is: pip install '.[{extra[1]}]'"
    if isinstance(error, UnknownJob) and error.message.startswith("no such job"):
        return (
            "; an answer is kept for FOREBAY_RETENTION_S seconds (default: a day), and only the "
            "job's own tenant can read it (--tenant)"
        )
    return ""


def _job_id(error: BaseException) -> str | None:
    """Return the id of the job that an error is about; `None` for what cannot be an id."""
    from forebay.routing.base import JOB_ID  # noqa: PLC0415 - imports pydantic, which --help does not

    job_id = getattr(error, "job_id", None)
    return job_id if isinstance(job_id, str) and re.fullmatch(JOB_ID, job_id) else None


def _plain_words(match: re.Match[str]) -> str:
    """Return the words for people of a message that typer took from pydantic."""
    wanted = match[1].replace("greater than or equal to", "at least")
    wanted = wanted.replace("less than or equal to", "at most")
    return f"must be {_TYPES.get(wanted, wanted)}"


def complain(error: BaseException, *, as_json: bool) -> int:
    """Print an error as one line or one JSON document; return the exit code."""
    shown = complaint(error)
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    if as_json:
        shown_fields = {"code": shown.code, "field": shown.field, "message": shown.message}
        document({"error": {**shown_fields, "job_id": _job_id(error)}})
    elif type(error).__name__ == "NoArgsIsHelpError":  # a group alone: its help tells its commands
        sys.stderr.write(f"{cast('TyperException', error).format_message()}\n")
    else:
        note(": ".join(part for part in (shown.code, shown.field, shown.message) if part))
    return shown.exit_code
