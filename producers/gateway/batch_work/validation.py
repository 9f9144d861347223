"""Validates the input of a batch, and translates it to the rows of a bulk, in constant memory.

It writes two files: `rows.jsonl`, the rows of the bulk, and `lines.jsonl`, what the outputs need to
know of each line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic_core import to_json

from forebay.producers.bulk.repeated_keys import RepeatedKeys
from forebay.producers.bulk.rows import BadRow, RawRow
from forebay.producers.bulk.sources.jsonl import JsonlSource
from forebay.producers.bulk.streams.inputs import FileInput
from forebay.producers.gateway.batch_work.line_format import (
    Desk,
    LineFormat,
    Translated,
    check_jobs,
)
from forebay.producers.gateway.errors import Refusal, fault_of
from forebay.routing.errors import ForebayError, InvalidJob

INPUT, ROWS, LINES = "input.jsonl", "rows.jsonl", "lines.jsonl"
MAX_ERRORS = 100  # of an input that are listed
MAX_CUSTOM_ID_CHARS = 512
_FIELDS = frozenset({"custom_id", "method", "url", "body"})


@dataclass
class Validated:
    """What was found in an input.

    Attributes:
        total: its requests; `refused`: those that no job can be made of.
        rows: the rows that the other requests became.
        errors: why the whole input is not valid, the first `MAX_ERRORS`.
    """

    total: int = 0
    refused: int = 0
    rows: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


class Mistake(Exception):
    """A line is no request at all, or there are too many, so the whole batch fails.

    Attributes:
        code: a stable name of the mistake.
        message: what is wrong.
        param: the field of the line to mend, or `None`.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def validate(folder: Path, form: LineFormat, desk: Desk, still: Callable[[], object]) -> Validated:
    """Validate the input in a batch's folder, and write its rows there.

    Args:
        folder: holds `input.jsonl`.
        form: how its lines are read.
        desk: what translating them needs.
        still: called after each line; it raises to stop.

    Raises:
        ForebayError: The input cannot be read, or the disk is full.
    """
    found, seen = Validated(), RepeatedKeys()
    with ExitStack() as stack:
        rows = stack.enter_context((folder / ROWS).open("wb"))
        lines = stack.enter_context((folder / LINES).open("wb"))
        for raw in _raw_rows(folder / INPUT, found, form.max_bytes):
            still()
            found.total += 1
            if found.total > form.max_requests:
                words = f"must have at most {form.max_requests} requests; make several batches"
                _note(found, None, Mistake("too_many_tasks", words, "input_file_id"))
                break
            try:
                custom_id, body = _envelope(raw, form.endpoint, seen)
            except Mistake as mistake:
                _note(found, raw.line, mistake)
                continue
            if not found.errors:
                _translate(found, custom_id, body, form, desk, rows, lines)
    return found


def _raw_rows(path: Path, found: Validated, max_bytes: int) -> Iterator[RawRow | BadRow]:
    if path.stat().st_size > max_bytes:
        words = f"must have at most {max_bytes} bytes; make several batches"
        _note(found, None, Mistake("file_too_large", words, "input_file_id"))
        return
    try:
        yield from JsonlSource(FileInput(path)).rows()
    except InvalidJob as error:
        _note(found, 1, Mistake("invalid_file", error.message))


def _note(found: Validated, line: int | None, mistake: Mistake) -> None:
    if len(found.errors) < MAX_ERRORS:
        entry = {"code": mistake.code, "line": line, "message": mistake.message}
        found.errors.append({**entry, "param": mistake.param})


def _envelope(raw: RawRow | BadRow, endpoint: str, seen: RepeatedKeys) -> tuple[str, Any]:
    """Return the custom id and the body of a line. Raises `Mistake`."""
    if isinstance(raw, BadRow):
        raise Mistake("invalid_json_line", raw.reason)
    line = raw.fields
    custom_id = line.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARS:
        words = f"must be a text of 1 to {MAX_CUSTOM_ID_CHARS} characters"
        raise Mistake("invalid_custom_id", words, "custom_id")
    if line.get("method", "POST") != "POST":
        raise Mistake("invalid_method", "must be POST", "method")
    if line.get("url") != endpoint:
        raise Mistake("invalid_url", f"must be {endpoint}, the endpoint of the batch", "url")
    if not isinstance(line.get("body"), dict):
        raise Mistake("invalid_body", "must be an object", "body")
    for name in line.keys() - _FIELDS:
        raise Mistake("unknown_field", "is not a field of a line", name[:60])
    if (first := seen.first_row(custom_id, raw.number)) is not None:
        words = f"repeats the custom_id of request {first}"
        raise Mistake("duplicate_custom_id", words, "custom_id")
    return custom_id, line["body"]


def _translate(
    found: Validated,
    custom_id: str,
    body: Any,
    form: LineFormat,
    desk: Desk,
    rows: IO[bytes],
    lines: IO[bytes],
) -> None:
    """Write a line as rows; a request that no job can be made of, as its error."""
    line: dict[str, Any] = {"id": custom_id}
    try:
        made = form.translate(body, desk)
        check_jobs(made.jobs)
    except (Refusal, ForebayError) as error:
        found.refused += 1
        line["fault"] = fault_of(error)._replace(job_id=None)
    else:
        line |= {"jobs": len(made.jobs), "kind": made.jobs[0].kind, "told": made.told}
        _write_rows(found, made, rows)
    lines.write(to_json(line) + b"\n")


def _write_rows(found: Validated, made: Translated, rows: IO[bytes]) -> None:
    for number, job in enumerate(made.jobs):
        found.rows += 1
        request = job.request.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        row = {
            "key": f"{found.total}.{number}",
            "egress": "deny" if job.lane == "local" else job.egress,
            "request": {**request, "kind": job.kind},
            **({"model": job.model} if job.model else {}),
        }
        rows.write(to_json(row) + b"\n")
