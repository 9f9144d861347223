"""The JSON of a provider's response, read whatever it holds: a whole response is billed."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

MAX_DIGITS = 100  # of a whole number; Python reads none of more than 4,300


def read_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that the data is; `None` if it is none.

    Bytes that are no text are replaced, and a number of too many digits counts as infinite. A
    member whose name occurs twice in its object is `None`: neither value can be believed. An
    object that is nested too deep to be read has a usage that nobody can tell, and nothing else.
    """
    try:
        text = data.decode(json.detect_encoding(data), "replace")
        found = json.loads(text, parse_int=_whole_number, object_pairs_hook=_object)
    except RecursionError:
        return {"usage": None}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        times = Counter(name for name, _ in members)
        found |= dict.fromkeys(name for name in found if times[name] > 1)
    return found


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf
