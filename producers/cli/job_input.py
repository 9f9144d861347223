"""Reads a job from a file, from standard input or from options of the command line.

Nothing that the wire contract checks is checked here. Options become the same JSON that a file
would hold, so a mistake gets the same error either way.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from forebay.producers.cli import display
from forebay.producers.cli.option_names import MISSING_TEXT, OPTIONS, check_options_fit
from forebay.routing.base import KINDS
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.jobs import Deadline, Job, parse_job
from forebay.routing.json_tree import read_json
from forebay.routing.questions import short_forms
from forebay.routing.terminal.spans import seconds_of

MAX_INPUT_BYTES = 128 * 1024 * 1024  # a larger input holds nothing that the contract accepts
_ANOTHER = re.compile(r"Extra data at (line \d+)")
_TIME: TypeAdapter[datetime] = TypeAdapter(Deadline)


def make_job(source: str, request: Mapping[str, Any], options: Mapping[str, Any]) -> Job:
    """Return the job that a command line describes.

    Args:
        source: a job kind, or a file with a request or a whole job as JSON, `-` for stdin.
        request: fields of the request from options; allowed with a kind only.
        options: fields of the job from options; they override those of a file.

    Raises:
        InvalidJob: A field is wrong; the error names it.
        EgressDenied: The job is pinned to a lane that its content may not reach.
    """
    kinds = ", ".join(KINDS)
    if source in KINDS:
        return parse_job({**_defaults(), "request": make_request(source, request), **options})
    if source != "-" and not _exists(source):
        close = get_close_matches(source, KINDS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        forms = f"must be a kind ({kinds}), an existing file, or - for stdin{meant}"
        raise InvalidJob(forms, field="SOURCE")
    if request:
        message = f"can only be given after a kind ({kinds}), as in: forebay submit summarize"
        raise InvalidJob(message, field=OPTIONS[next(iter(request))])
    data = read_object(source)
    job = data if "request" in data else {"request": data}
    return parse_job({**_defaults(), **job, **options})


def _defaults() -> dict[str, str]:
    tenant = os.environ.get("FOREBAY_TENANT")
    return {"tenant": tenant} if tenant else {}


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except ValueError:  # unknown; reading it gives the reason
        return True
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG  # rather a text than a name


def make_request(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request as a file would hold it.

    Raises:
        InvalidJob: There is no text, or several for a kind that takes one; or an option is for
            other kinds.
    """
    check_options_fit(kind, given)
    if not given.get("system", "-").strip():
        raise InvalidJob("is empty: remove it, or give a text", field="--system")
    fields = {key: value for key, value in given.items() if key not in {"text", "system"}}
    texts: Sequence[str] = given.get("text", ())
    if kind == "decide" and "state" in given:
        if texts:
            raise InvalidJob("cannot be combined with a text", field="--state")
        return {"kind": kind, **fields}
    if not texts:
        raise InvalidJob(MISSING_TEXT, field="--text")
    if kind == "embed":
        return {"kind": kind, "texts": texts, **fields}
    if len(texts) > 1:
        message = "may be given once only, except for embed; put a text of several words in quotes"
        raise InvalidJob(message, field="--text")
    if kind == "generate":
        system = [("system", given["system"])] if "system" in given else []
        turns = [*system, ("user", texts[0])]
        messages = [{"role": role, "content": text} for role, text in turns]
        return {"kind": kind, "messages": messages, **fields}
    return {"kind": kind, "state" if kind == "decide" else "text": texts[0], **fields}


def check_stdin_is_read_once(*sources: str | None) -> None:
    """Check that at most one of the sources is standard input.

    Raises:
        InvalidJob: Several are.
    """
    if sources.count("-") > 1:
        raise InvalidJob(
            "can only be read once, by one of SOURCE, --file, --schema, --state and --questions",
            field="-",
        )


def read_text(source: str, *, option: str = "") -> str:
    """Read UTF-8 text from a file, or from standard input for `-`.

    Args:
        source: the name of the file, or `-`.
        option: the option that names the source; errors name both.

    Raises:
        InvalidJob: The file cannot be read, or does not hold UTF-8 text.
        TooLong: The file is larger than `MAX_INPUT_BYTES`.
    """
    field = _source_name(source, option)
    if not source:
        raise _empty(option, field)
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InvalidJob(f"cannot be read: {error.strerror or 'failed'}", field=field) from None
    except ValueError:  # a null byte, or a character that no file system can encode
        raise InvalidJob("is not a valid file name", field=field) from None
    if len(data) > MAX_INPUT_BYTES:
        raise TooLong(f"must have at most {MAX_INPUT_BYTES} bytes", field=field)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidJob("is not UTF-8 text", field=field) from None
    if not text.strip():
        raise _empty(option, field)
    return text


def _empty(option: str, field: str) -> InvalidJob:
    return InvalidJob(f"is empty: {_EXPECTED.get(option, _JOB_EXPECTED)}", field=field)


_JOB_EXPECTED = (
    "it must hold a job as JSON (see `forebay schema`); to submit a text, "
    'say: forebay submit summarize "the text"'
)
_EXPECTED = {
    "--file": "it must hold the text of the job",
    "--state": "it must hold a JSON object or list",
    "--schema": "it must hold a JSON Schema",
    "--questions": "it must hold a JSON array of questions, or one question a line",
}


def _source_name(source: str, option: str) -> str:
    """Return how errors name a file: after its option, printable, and not too long."""
    if source == "-":
        return f"{option} standard input".strip()
    name = display.shortened(source)
    return f"{option} {name}".strip() if name else f"{option} ''"


def read_schema(source: str) -> dict[str, Any]:
    """Read a JSON Schema from the option `--schema`: the schema itself, a file, or `-`.

    Raises:
        InvalidJob: See `read_object`.
    """
    if source.lstrip().startswith(("{", "[")):
        return _parse_object(source, field="--schema")
    return read_object(source, option="--schema")


def read_state(source: str) -> Any:
    """Read a JSON object or list from `--state`: itself, a file, or `-`; see `read_object`."""
    if source.lstrip().startswith(("{", "[")):
        return _parse_json(source, field="--state")
    field = _source_name(source, "--state")
    return _parse_json(read_text(source, option="--state"), field=field)


def read_questions(
    file: str | None, lines: Sequence[str] | None, choices: Sequence[str] | None
) -> list[dict[str, Any]] | None:
    """Return the questions of a file, of `--question` and of `--choice`; `None` if none is given.

    Raises:
        InvalidJob: The file cannot be read, or a question has none of its forms.
    """
    found: list[dict[str, Any]] = []
    if file is not None:
        text = read_text(file, option="--questions")
        with _blaming(_source_name(file, "--questions")):
            found += short_forms.questions(text)
    with _blaming("--question"):
        found += map(short_forms.question, lines or ())
    with _blaming("--choice"):
        found += map(short_forms.choice, choices or ())
    return found or None


@contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Name an option in an error about what it holds."""
    try:
        yield
    except InvalidJob as error:
        raise InvalidJob(error.message, field=field) from None


def read_object(source: str, *, option: str = "") -> dict[str, Any]:
    """Read a JSON object from a file, or from standard input for `-`.

    Args:
        source: the name of the file, or `-`.
        option: the option that names the source, if any.

    Raises:
        InvalidJob: The file cannot be read, or does not hold one JSON object.
    """
    return _parse_object(read_text(source, option=option), field=_source_name(source, option))


def _parse_object(text: str, *, field: str) -> dict[str, Any]:
    data = _parse_json(text, field=field)
    if not isinstance(data, dict):
        raise InvalidJob("must be a JSON object", field=field)
    return data


def _parse_json(text: str, *, field: str) -> Any:
    try:
        return read_json(text, field=field)
    except InvalidJob as error:
        if another := _ANOTHER.search(error.message):
            words = f"must hold one job; another begins at {another[1]} (Client.map submits many)"
            raise InvalidJob(words, field=field) from None
        raise


def read_deadline(text: str) -> datetime:
    """Parse an ISO time, or `30s`, `5m`, `2h`, `1d` from now by this machine's clock.

    Raises:
        InvalidJob: The text is neither, has no time zone, or means a time after the year 9999.
    """
    seconds = seconds_of(text)
    if seconds is None:
        return _read_time(text)
    now = datetime.now(UTC)
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        max_days = (datetime.max.replace(tzinfo=UTC) - now).days
        message = f"must be at most {max_days} days from now"
        raise InvalidJob(message, field="--deadline") from None


def _read_time(text: str) -> datetime:
    try:
        return _TIME.validate_python(text)
    except ValidationError:
        forms = "must be 30s, 5m, 2h or 1d from now, or an ISO time with a time zone"
        raise InvalidJob(forms, field="--deadline") from None


def read_metadata(pairs: Sequence[str]) -> dict[str, str]:
    """Parse `KEY=VALUE` pairs.

    Raises:
        InvalidJob: A pair has no key, or no `=`.
    """
    split = [pair.partition("=") for pair in pairs]
    if not all(mark and key for key, mark, _ in split):
        raise InvalidJob("must be KEY=VALUE", field="--meta")
    return {key: value for key, _, value in split}
