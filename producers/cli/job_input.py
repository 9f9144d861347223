"""A job out of a file, of standard input, or of what was typed on the command line.

Nothing is checked here that the wire contract checks: what was typed becomes the same JSON that a
file would hold, so a mistake gets the same error either way.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from forebay.routing.base import KINDS
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.jobs import Job, parse_job

#: Bytes; a larger input holds nothing that the contract would let through.
MAX_INPUT = 128 * 1024 * 1024

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def make_job(what: str, request: Mapping[str, Any], options: Mapping[str, Any]) -> Job:
    """The job that is meant.

    Args:
        what: one of the kinds, or a file with a request or a whole job as JSON, `-` for stdin.
        request: what was typed of the request; only goes with a kind.
        options: what was typed of the envelope; goes before what a file says.

    Raises:
        InvalidJob: Names the wrong field.
        EgressDenied: The job is pinned to a lane its content may not reach.
    """
    if what in KINDS:
        return parse_job({**_surroundings(), "request": typed_request(what, request), **options})
    if what != "-" and not _is_there(what):
        hint = f"is neither a kind ({', '.join(KINDS)}) nor a file that is there"
        raise InvalidJob(hint, field="WHAT")
    if request:
        hint = f"goes with a kind ({', '.join(KINDS)}), not with a file"
        raise InvalidJob(hint, field=next(iter(request)))
    data = read_object(what, field="FILE")
    whole = data if "request" in data else {"request": data}
    return parse_job({**_surroundings(), **whole, **options})


def _surroundings() -> dict[str, str]:
    tenant = os.environ.get("FOREBAY_TENANT")
    return {"tenant": tenant} if tenant else {}


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # it cannot be known; reading it says why
        return True


def typed_request(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The request as a file would have it.

    Raises:
        InvalidJob: No text was typed, or several where one is meant.
    """
    fields = {key: value for key, value in given.items() if key not in {"text", "system"}}
    texts: Sequence[str] = given.get("text", ())
    if not texts:
        raise InvalidJob("is needed: --text or --file", field="text")
    if kind == "embed":
        return {"kind": kind, "texts": texts, **fields}
    if len(texts) > 1:
        raise InvalidJob("may be given once, except with embed", field="text")
    if kind == "generate":
        roles = [("system", given.get("system")), *(("user", text) for text in texts)]
        turns = [{"role": role, "content": text} for role, text in roles if text is not None]
        return {"kind": kind, "messages": turns, **fields}
    system = {"system": given["system"]} if "system" in given else {}
    return {"kind": kind, "text": texts[0], **fields, **system}


def read_text(source: str, *, field: str) -> str:
    """UTF-8 text of a file, or of stdin for `-`.

    Raises:
        InvalidJob: It cannot be read, or is no text.
    """
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise InvalidJob(f"cannot be read: {error.strerror or 'failed'}", field=field) from None
    except ValueError:  # a null byte, or what no file system can spell
        raise InvalidJob("is no name of a file", field=field) from None
    if len(data) > MAX_INPUT:
        raise TooLong(f"should have at most {MAX_INPUT} bytes", field=field)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidJob("is not UTF-8 text", field=field) from None


def read_object(source: str, *, field: str) -> dict[str, Any]:
    """A JSON object of a file, or of stdin for `-`.

    Raises:
        InvalidJob: It cannot be read, or is no JSON object.
    """
    text = read_text(source, field=field)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            hint = f"holds more than one job, from line {error.lineno} on; Client.map takes many"
            raise InvalidJob(hint, field=field) from None
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidJob(f"is not JSON: {error.msg} at {where}", field=field) from None
    except (RecursionError, ValueError):  # nested too deep; a number of too many digits
        raise InvalidJob("is not JSON that can be read", field=field) from None
    if not isinstance(data, dict):
        raise InvalidJob("must be a JSON object", field=field)
    return data


def read_deadline(text: str) -> datetime | str:
    """`30s`, `5m`, `2h`, `1d` from now by this machine's clock; anything else as it is."""
    match = _DURATION.fullmatch(text)
    if not match:
        return text
    try:
        return datetime.now(UTC) + timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise InvalidJob("is too far away", field="deadline") from None


def read_metadata(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE`, any number of times."""
    split = [pair.partition("=") for pair in pairs]
    if not all(mark and key for key, mark, _ in split):
        raise InvalidJob("must be KEY=VALUE", field="metadata")
    return {key: value for key, _, value in split}
