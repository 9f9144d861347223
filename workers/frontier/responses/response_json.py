"""The JSON of a provider's response, read whatever it holds: a whole response is billed."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DIGITS = 100  # of a whole number; Python reads none of more than 4,300


def read_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that the data is; `None` if it is none.

    Bytes that are no text are replaced, and a number of too many digits counts as infinite. An
    object that is nested too deep to be read has a usage that nobody can tell, and nothing else.
    """
    try:
        text = data.decode(json.detect_encoding(data), "replace")
        found = json.loads(text, parse_int=_whole_number)
    except RecursionError:
        return {"usage": None}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf
