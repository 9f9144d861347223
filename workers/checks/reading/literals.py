"""Literals: values as a program writes them, such as `[1, 2]`, `(1, 'a')` or `{"a": null}`."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Any

MAX_CHARS = 20_000  # of a literal that is parsed; a longer one is compared as a text
MAX_DEPTH = 50  # brackets in brackets; Python's parser allows 200

_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_FENCE = re.compile(r"\s*+```\w*+\n(.*)```\s*", re.DOTALL)
_SPACE = re.compile(r"\s+")
_UNPARSED = object()


def without_fence(text: str) -> str:
    """Return the content of a Markdown code block, if the text is one."""
    fenced = _FENCE.fullmatch(text) if text.lstrip().startswith("```") else None
    return fenced[1].strip() if fenced else text


def in_brackets(text: str) -> bool:
    """Return whether the text stands in brackets as a whole."""
    stripped = text.strip()
    return bool(stripped) and stripped[-1] == _BRACKETS.get(stripped[0])


def container(text: str) -> Any:
    """Return the list, tuple, set or dict that a text is, in JSON or Python; else `None`."""
    found = _parsed(text.strip()) if in_brackets(text) else None
    return found if isinstance(found, list | tuple | set | dict) else None


def document(text: str) -> Any:
    """Return the JSON object, or list of JSON objects, that a text is; else `None`."""
    if not in_brackets(text) or _depth(text) > MAX_DEPTH:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    parts = found if isinstance(found, list) else [found]
    return found if parts and all(isinstance(part, dict) for part in parts) else None


def same(one: str, other: str) -> bool:
    """Return whether two literals are the same value.

    Spaces between parts and the sort of quotes are ignored, and so is the order in sets and
    dicts; `1.0` is `1`, but `True` is not, and the text `'1'` is not either. A literal that is
    neither JSON nor Python is compared without its spaces.
    """
    first, second = _parsed(one.strip()), _parsed(other.strip())
    if first is _UNPARSED or second is _UNPARSED:
        return _SPACE.sub("", one) == _SPACE.sub("", other)
    return _canonical(first) == _canonical(second)


def _parsed(text: str) -> Any:
    if len(text) > MAX_CHARS or _depth(text) > MAX_DEPTH:
        return _UNPARSED
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return _UNPARSED


def _depth(text: str) -> int:
    """Return the most brackets that are open at once; brackets in texts count too."""
    depth = most = 0
    for char in text:
        depth += (char in "[{(") - (char in "]})")
        most = max(most, depth)
    return most


def _canonical(value: Any) -> Hashable:
    """Return what is equal for equal values only, of whatever types of numbers."""
    match value:
        case bool() | None:
            return type(value).__name__, value
        case int() | float():
            return _number(value)
        case list() | tuple():
            return "sequence" if isinstance(value, list) else "tuple", *map(_canonical, value)
        case set():
            return "set", frozenset(map(_canonical, value))
        case dict():
            pairs = ((_canonical(name), _canonical(part)) for name, part in value.items())
            return "dict", frozenset(pairs)
        case _:
            return type(value).__name__, str(value)


def _number(value: float) -> Hashable:
    """Return a number as it is written in decimals: `0.1` is no binary fraction."""
    if isinstance(value, int) or math.isfinite(value):
        return "number", Decimal(repr(value))
    return "number", repr(value)
