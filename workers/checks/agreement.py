"""How far two answers to one question say the same, from 0 to 1. Pure functions; nobody is asked.

Dress is forgiven, substance is not: `18`, `$18.00` and `#### 18` are one answer, `18` and `19` are
two. Where an answer comes down to a number, a choice or a yes, that alone is compared, and the
agreement is 0 or 1. Prose is compared by its key facts and its words, or by its meaning where an
encoder is at hand.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal
from operator import mul
from typing import Any

from forebay.routing.jobs import Classification, Content, Extraction, Generation, Summary
from forebay.workers.checks.grounding import words
from forebay.workers.engines.engine import Vectors

Embed = Callable[[list[str]], Vectors]

SHORT_TEXT_WORDS = 8  # words; a text of no more, with one number in it, is about that number
MAX_JSON_DEPTH = 32  # levels of JSON; what lies deeper is compared as a whole
PLACES = 2  # decimals; of numbers that have so many, the longer one may be the more exact

_MARK = re.compile(
    r"####|\\boxed\{|\banswer\s*(?:is\b\s*:?|:|=)|\b(?:option|choice)\s*(?:is\b\s*:?|:)",
    re.IGNORECASE,
)
_DRESS = " \t\r\n*_`\"'.$"
_CHOICE = re.compile(r"\(?([A-Z])(?:\)|[.:](?=\s|$)|$)")
_TRUTH = re.compile(r"(yes|true|no|false)(?=$|[\s]*[,.;:!])", re.IGNORECASE)
#: Digits are taken whole (`++`): given back one by one they would cost the square of their number.
_NUMBER = re.compile(
    r"(?<![\w.,])([-\u2212]?)\s?[$\u20ac\u00a3]?\s?"
    r"(\d++(?:[.,]\d++)*|\.\d++)(?:/(\d++(?!/)))?(?!\w*+[-/]\d)"
)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SUM = re.compile(r"\d\s*[=\u2248]|[=\u2248]\s*[-\u2212]?[$\u20ac\u00a3]?\s?\d")
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z]\w{2,}")  # a capital inside a sentence
_LITERAL = ("[", "{", "(")


def texts(one: str, other: str) -> float:
    """How far two texts agree: on what they come down to, and else in their words."""
    if _folded(one) == _folded(other):
        return 1.0
    data = _json(one), _json(other)
    if all(isinstance(each, dict | list) for each in data):
        return fields(*data)
    return _decided(one, other, _overlap)


def contents(first: Content, second: Content, embed: Embed | None = None) -> float:
    """How far two answers of one kind agree; 0 where they are of different kinds, or vectors.

    Args:
        first: an answer.
        second: another one to the same job.
        embed: makes vectors of unit length of texts; with it prose is compared by meaning.

    Raises:
        Whatever `embed` raises.
    """
    match first, second:
        case Classification(), Classification():
            return float(first.label == second.label)
        case Extraction(), Extraction():
            return fields(first.data, second.data)
        case Summary(), Summary():
            return _prose(first.text, second.text, embed)
        case Generation(), Generation():
            return _generations(first.text, second.text, embed)
        case _:
            return 0.0


def fields(one: Any, other: Any) -> float:
    """The mean agreement over all leaves of two JSON documents; a leaf that one lacks counts 0."""
    ours, theirs = dict(_leaves(one)), dict(_leaves(other))
    paths = ours.keys() | theirs.keys()
    if not paths:
        return 1.0
    agreed = (_values(ours.get(path), theirs.get(path)) for path in paths)
    return sum(agreed) / len(paths)


# --- what a text comes down to ------------------------------------------------------------------


def decides(text: str) -> bool:
    """Whether a text comes down to something: a number, a choice, a yes or no, or JSON."""
    return _final(text) is not None or _is_literal(text)


def _decided(one: str, other: str, undecided: Callable[[str, str], float]) -> float:
    """0 or 1 where both texts come down to something, and else what `undecided` makes of them."""
    ours, theirs = _final(one), _final(other)
    if isinstance(ours, Decimal) or isinstance(theirs, Decimal):
        # One of them is about a number: the other, however long, is held to its last one.
        ours, theirs = _last_number(one), _last_number(other)
        return float(ours is not None and theirs is not None and _equal(ours, theirs))
    if ours is not None and theirs is not None:
        return float(ours == theirs)
    if _is_literal(one) or _is_literal(other):
        return 0.0
    return undecided(one, other)


def _final(text: str) -> Decimal | str | bool | None:
    """The number, the letter or the truth that a text comes down to; none where it is prose."""
    marked = _marked(text)
    said = (marked if marked is not None else text).strip(_DRESS)
    if choice := _CHOICE.match(said.upper() if len(said) == 1 else said):
        return choice[1]
    if truth := _TRUTH.match(said):
        return truth[1].casefold() in {"yes", "true"}
    if _is_literal(said):
        return None
    found = numbers(said)
    short = len(said.split()) <= SHORT_TEXT_WORDS and len(found) == 1
    return _last_number(text) if short or marked is not None or _SUM.search(said) else None


def _marked(text: str) -> str | None:
    """What stands behind the last mark of an answer, up to the end of its line."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].strip()
    line = rest.splitlines()[0] if rest else ""
    return line.partition("}")[0] if "boxed" in marks[-1][0] else line or None


def _last_number(text: str) -> Decimal | None:
    """The number of a text's answer: behind its mark the first, or what a sum comes to."""
    marked = _marked(text) or ""
    if found := numbers(marked):
        return found[-1 if _SUM.search(marked) else 0]
    return next(reversed(numbers(text)), None)


def numbers(text: str) -> list[Decimal]:
    """The numbers of a text, in their order, as values: signs, groups and fractions read."""
    return [_value(*match.groups()) for match in _NUMBER.finditer(text)]


def _value(sign: str, digits: str, below: str | None) -> Decimal:
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and "." not in digits:
        digits = digits.replace(",", ".")
    elif digits.rfind(",") > digits.rfind("."):
        digits = digits.replace(".", "").replace(",", ".", 1).replace(",", "")
    head, _, tail = digits.replace(",", "").rpartition(".")
    value = Decimal(f"{head.replace('.', '')}.{tail}" if head or "." in digits else tail)
    divisor = Decimal(below or 0)
    if divisor:
        value /= divisor
    return -value if sign else value


def _equal(one: Decimal, other: Decimal) -> bool:
    places = min(_places(one), _places(other))
    if places < PLACES:
        return one == other
    step = Decimal(1).scaleb(-places)
    return abs(one - other) <= step / 2


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _is_literal(text: str) -> bool:
    return text.strip().startswith(_LITERAL) and text.strip().endswith(("]", "}", ")"))


# --- JSON ---------------------------------------------------------------------------------------


def _json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _leaves(root: Any) -> Iterable[tuple[tuple[Hashable, ...], Any]]:
    """Each leaf under its path; what is empty is a leaf too, and so is what lies too deep."""
    waiting: list[tuple[tuple[Hashable, ...], Any]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if node and isinstance(node, dict | list) and len(path) < MAX_JSON_DEPTH:
            parts = node.items() if isinstance(node, dict) else enumerate(node)
            waiting += [((*path, name), part) for name, part in parts]
        else:
            yield path, node


def _values(one: Any, other: Any) -> float:
    """Two leaves; a field that is null, empty or not there says the same: nothing."""
    nothing = [each is None or each in ("", [], {}) for each in (one, other)]
    if any(nothing):
        return float(all(nothing))
    if isinstance(one, bool) or isinstance(other, bool):
        return float(one is other)
    scalars = all(isinstance(each, str | int | float) for each in (one, other))
    return texts(str(one), str(other)) if scalars else float(one == other)


# --- prose --------------------------------------------------------------------------------------


def _generations(one: str, other: str, embed: Embed | None) -> float:
    if _folded(one) == _folded(other):
        return 1.0
    data = _json(one), _json(other)
    if all(isinstance(each, dict | list) for each in data):
        return fields(*data)
    return _decided(one, other, lambda a, b: _prose(a, b, embed))


def _prose(one: str, other: str, embed: Embed | None) -> float:
    """The key facts, where there are any, and the meaning (or the words) count half each."""
    meaning = _cosine(one, other, embed) if embed else _overlap(one, other)
    facts = _facts(one), _facts(other)
    return (meaning + _shared(*facts)) / 2 if any(facts) else meaning


def _facts(text: str) -> Counter[Hashable]:
    """The numbers and names of a text."""
    facts: set[Hashable] = {value.normalize() for value in numbers(text)}
    return Counter(facts | {name.casefold()[:5] for name in _NAME.findall(text)})


def _cosine(one: str, other: str, embed: Embed) -> float:
    first, second = embed([one, other]).vectors
    return min(1.0, max(0.0, math.fsum(map(mul, first, second))))


def _overlap(one: str, other: str) -> float:
    return _shared(Counter(words(one)), Counter(words(other)))


def _shared(one: Counter[Any], other: Counter[Any]) -> float:
    """Twice what both have over what each has: the harmonic mean of precision and recall."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0


def _folded(text: str) -> str:
    return " ".join(text.strip(_DRESS).casefold().split())
