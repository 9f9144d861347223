"""Regular expressions and schemas of callers, checked in bounded time.

Python cannot interrupt a regular expression, and holds the interpreter lock meanwhile: one bad
pattern would stop every job of the worker, and the renewal of its leases. So whatever is not known
to be cheap is checked in an isolated process, which is killed when its time is up.
"""

from __future__ import annotations

import re
from typing import Any

from forebay.workers.isolation.limits import WALL_S, OverBudget
from forebay.workers.isolation.pool import call_within
from forebay.workers.isolation.schemas import first_violation, is_cheap


def mismatch(regex: str, text: str, *, timeout_s: float = WALL_S) -> str | None:
    """Return why the whole text does not match, without quoting it; `None` if it matches."""
    try:
        matches = call_within(timeout_s, _matches, regex, text)
    except OverBudget as error:
        return str(error)
    return None if matches else "does not match"


def violation(schema: dict[str, Any], data: Any, *, timeout_s: float = WALL_S) -> str | None:
    """Return the keyword of the schema that the data violates; `None` if it validates.

    Formats (`date`, `email`, …) count. Nothing is ever fetched: the registry of schemas is empty.
    """
    if is_cheap(schema, data):
        return _violation(schema, data)
    try:
        return call_within(timeout_s, _violation, schema, data)
    except OverBudget as error:
        return str(error)


def _matches(regex: str, text: str) -> bool:
    return re.fullmatch(regex, text) is not None


def _violation(schema: dict[str, Any], data: Any) -> str | None:
    try:
        return first_violation(schema, data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - such as a reference to nothing; its message may quote content
        return "cannot be checked"
