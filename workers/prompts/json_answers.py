"""Find the one JSON document in a model's text: after thoughts, in a code fence, or among prose."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from forebay.routing.errors import BadAnswer
from forebay.routing.json_tree import unique

_FENCED = re.compile(r"^[ \t]*```[\w+-]*[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_ONE_FENCE = re.compile(r"\A\s*```[a-zA-Z]*[ \t]*\n(.*)```\s*\Z", re.DOTALL)
_THOUGHTS = re.compile(
    r"\A\s*<(think|thinking|thought|reasoning)>(?:.*?</\1>|.*)", re.DOTALL | re.IGNORECASE
)
_END_OF_THOUGHTS = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"[{\[]")
_MARKS = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|(?<=[\w"}\]]),(?=\s{0,200}[}\]])', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class Document(NamedTuple):
    """A JSON document and its text."""

    data: Any
    text: str


def document(text: str, *, kind: type[Any] | None = None) -> Document:
    """Return the JSON document in a text.

    Args:
        text: JSON alone, or with prose, code fences or thoughts around it.
        kind: `dict` or `list`, if only objects or only arrays count among prose.

    Raises:
        BadAnswer: There is no JSON, or there are different documents of the kind, or a part of the
            document is no JSON: NaN, infinity, half a surrogate pair.
    """
    for form in (text.lstrip("\ufeff"), without_thoughts(text)):
        if (whole := _parsed(form)) is not None:
            return whole
    text = without_thoughts(text)
    candidates = [each for part in _FENCED.findall(text) if (each := _parsed(part))]
    candidates = _of_kind(candidates, kind) or _of_kind(_among_prose(text), kind)
    if not candidates or any(each.data != candidates[0].data for each in candidates):
        raise BadAnswer("the answer is not JSON")
    return candidates[0]


def is_json(text: str) -> bool:
    """Return whether a text is one JSON document and nothing else."""
    return _parsed(text, mends=False) is not None


def json_kind(schema: dict[str, Any]) -> type[Any] | None:
    """Return the Python type of a schema's type; `None` if the schema has no single one."""
    kinds: dict[str, type[Any]] = {"object": dict, "array": list}
    name = schema.get("type")
    return kinds.get(name, str) if isinstance(name, str) else None


def without_thoughts(text: str) -> str:
    """Return the text without a byte order mark, and without the thoughts that lead to it.

    Some chat templates open the thoughts in the prompt, so that the text only closes them. Of
    thoughts that were cut off nothing is left: what stands in them is no answer.
    """
    text = text.strip().lstrip("\ufeff\u200b").strip()
    while match := _THOUGHTS.match(text):
        text = text[match.end() :].strip()
    if match := _END_OF_THOUGHTS.match(text):
        text = text[match.end() :].strip()
    return text


def without_fence(text: str) -> str:
    """Return what a code fence around the whole text holds; the text if there is no fence."""
    fenced = _ONE_FENCE.match(text)
    return (fenced[1] if fenced else text).strip()


def _of_kind(documents: list[Document], kind: type[Any] | None) -> list[Document]:
    return [each for each in documents if isinstance(each.data, kind or object)]


def _among_prose(text: str) -> list[Document]:
    return [each for part in _bracketed(text) if (each := _parsed(part))]


def _bracketed(text: str) -> Iterator[str]:
    """Yield each outermost part in brackets. Nothing follows a bracket that is never closed.

    What stands inside of a document that was cut off would be a guess.
    """
    open_brackets: list[str] = []
    start = end = 0
    # Outside of brackets a quotation mark is prose: `the 5" disk`.
    while match := (_MARKS if open_brackets else _OPENING).search(text, end):
        mark, end = match[0], match.end()
        if mark in _CLOSING:
            start = start if open_brackets else match.start()
            open_brackets.append(mark)
        elif mark[0] != '"':
            if _CLOSING[open_brackets.pop()] != mark:
                return
            if not open_brackets:
                yield text[start:end]


def _parsed(text: str, *, mends: bool = True) -> Document | None:
    """Return the document that a text is as a whole; `None` if it is not JSON.

    Two slips of models leave no doubt about what is meant, and are mended: line breaks in strings,
    and a comma after the last item.
    """
    text = text.strip()
    try:
        return Document(_loaded(text), text)
    except (ValueError, RecursionError):  # UnicodeEncodeError of half a pair is a ValueError
        if not mends:
            return None
    try:
        data = _loaded(_LAST_COMMA.sub(r"\1", text), strict=False)
        return Document(data, json.dumps(data, ensure_ascii=False))
    except (ValueError, RecursionError):
        return None


def _loaded(text: str, *, strict: bool = True) -> Any:
    data = json.loads(
        text, strict=strict, parse_constant=_reject_constant, parse_float=_finite,
        object_pairs_hook=unique,
    )  # fmt: skip
    json.dumps(data, ensure_ascii=False).encode()
    return data


def _reject_constant(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity: Python reads them, JSON does not have them


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError  # 1e999: no JSON number stands for infinity
    return number
