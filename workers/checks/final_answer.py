"""The final answer of a text, if it has one: a number, a choice, a yes or no, a date, a literal.

Formatting is ignored: `18`, `$18.00`, `#### 18` and `so 9 * 2 = 18` come down to the same number.
"""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal
from typing import NamedTuple

from forebay.workers.checks.reading.dates import Date, Time, blanked, dates, times, without_zones

SHORT_TEXT_WORDS = 8  # a text of at most so many words with one number in it is about that number
MAX_LISTED_WORDS = 3  # a text of so few words that has several numbers comes down to none of them
MAX_DATE_CHARS = 100  # of a text that comes down to a date
MAX_DATED_CHARS = 2_000  # of the end of a longer text, in which its last date is looked for
MIN_ROUNDED_PLACES = 2  # decimals from which the shorter of two numbers may be the other, rounded

_MARK = re.compile(
    r"####|\\boxed\{|\banswer\s*(?:is\b\s*:?|:|=)|\b(?:option|choice)\s*(?:is\b\s*:?|:)",
    re.IGNORECASE,
)
_FORMATTING = " \t\r\n*_`\"'.$"
_CHOICE = re.compile(r"\(?([A-Z])(?:\)|[.:](?=\s|$)|$)")
_TRUTH = re.compile(r"(yes|true|no|false)(?=$|[\s]*[,.;:!])", re.IGNORECASE)
#: Digits are matched possessively (`++`): backtracking would take the square of their number.
_NUMBER = re.compile(
    r"(?<![\w.,])([-\u2212]?)\s?[$\u20ac\u00a3]?\s?"
    r"(\d++(?:[.,]\d++)*|\.\d++)(?:[eE]([-+]?\d{1,3})(?!\w))?"
    r"(?:/(\d++(?!/)))?(?!\w*+[-/]\d)(?![^\W\d]++\d)"
)
_UNIT = re.compile(r"\d([^\W\d_]++)(?![\d_])")
_PADDED = re.compile(r"(?<![\w.,])(0\d++)(?![.,/\w])")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SUM = re.compile(r"\d\s*[=\u2248]|[=\u2248]\s*[-\u2212]?[$\u20ac\u00a3]?\s?\d")


class Moment(NamedTuple):
    """What a date and a time of day may mean; empty for what is not given."""

    dates: frozenset[Date]
    times: frozenset[Time]


def decides(text: str) -> bool:
    """Return whether the text has a final answer, or is a literal such as JSON or a tuple."""
    return (
        final_answer(text) is not None
        or is_literal(core_of(text))
        or final_moment(text, whole=True) is not None
    )


def final_answer(text: str) -> Decimal | str | bool | None:
    """Return the number, the letter or the truth that a text comes down to; `None` for prose."""
    marked, core = _after_mark(text), core_of(text).strip(_FORMATTING)
    if choice := _CHOICE.match(core.upper() if len(core) == 1 else core):
        return choice[1]
    if truth := _TRUTH.match(core):
        return truth[1].casefold() in {"yes", "true"}
    if is_literal(core):
        return None
    is_short = len(core.split()) <= SHORT_TEXT_WORDS and len(numbers(core)) == 1
    return final_number(text) if is_short or marked is not None or _SUM.search(core) else None


def core_of(text: str) -> str:
    """Return the text after the last mark of an answer, or else all of it."""
    marked = _after_mark(text)
    return marked if marked is not None else text


def final_moment(text: str, *, whole: bool = False) -> Moment | None:
    """Return what the text's last date and last time of day may mean, if it has either.

    Args:
        text: any text.
        whole: return them only if the text comes down to them.
    """
    core = core_of(text)
    if whole and (len(core) > MAX_DATE_CHARS or len(core.split()) > SHORT_TEXT_WORDS):
        return None
    end = without_zones(core[-MAX_DATED_CHARS:])
    days = list(dates(end))
    hours = list(times(blanked(end, [span for span, _ in days])))
    if not (days or hours) or (whole and (len(days) > 1 or len(hours) > 1)):
        return None
    return Moment(days[-1][1] if days else frozenset(), hours[-1][1] if hours else frozenset())


def is_number(text: str) -> bool:
    """Return whether a text comes down to a number."""
    return isinstance(final_answer(text), Decimal)


def final_number(text: str) -> Decimal | None:
    """Return the number that a text's answer is, if the text has a number.

    After a mark, the first number counts, or the last if there is a sum; else the text's last.
    """
    marked = _after_mark(text) or ""
    if marked_numbers := numbers(marked):
        return marked_numbers[-1 if _SUM.search(marked) else 0]
    found = numbers(text)
    if len(set(found)) > 1 and len(text.split()) <= MAX_LISTED_WORDS and not _SUM.search(text):
        return None  # a short list of numbers
    return found[-1] if found else None


def tags(text: str) -> tuple[str, str]:
    """Return what belongs to the number of a short text: letters behind it, and leading zeros.

    `5km` and `5kg` are different answers, and so are `007` and `07`. Beside a bare `5` or `7` they
    are the same.
    """
    core = core_of(text)
    if len(core.split()) > SHORT_TEXT_WORDS:
        return "", ""
    units, padded = _UNIT.findall(core), _PADDED.findall(core)
    return units[-1].casefold() if units else "", padded[-1] if padded else ""


def numbers(text: str) -> list[Decimal]:
    """Return the numbers of a text in order, with signs, digit groups and fractions read."""
    return [_value(*match.groups()) for match in _NUMBER.finditer(text)]


def equal(one: Decimal, other: Decimal) -> bool:
    """Return whether two numbers are equal, or one is the other rounded to cents or finer."""
    places = min(_places(one), _places(other))
    if places < MIN_ROUNDED_PLACES:
        return one == other
    step = Decimal(1).scaleb(-places)
    return abs(one - other) <= step / 2


def is_literal(text: str) -> bool:
    """Return whether the text stands in brackets as a whole, as JSON and tuples do."""
    stripped = text.strip()
    return stripped.startswith(("[", "{", "(")) and stripped.endswith(("]", "}", ")"))


def folded(text: str) -> str:
    """Return the text without formatting around it, in one case, with single spaces."""
    return " ".join(text.strip(_FORMATTING).casefold().split())


def _after_mark(text: str) -> str | None:
    """Return the rest of the line after the last mark of an answer; `None` without a mark."""
    last = deque(_MARK.finditer(text), maxlen=1)
    if not last:
        return None
    mark = last[0]
    rest = text[mark.end() :].strip()
    line = rest.splitlines()[0] if rest else ""
    return line.partition("}")[0] if "boxed" in mark[0] else line or None


def _value(sign: str, digits: str, exponent: str | None, divisor_digits: str | None) -> Decimal:
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and "." not in digits:
        digits = digits.replace(",", ".")
    elif digits.rfind(",") > digits.rfind("."):
        digits = digits.replace(".", "").replace(",", ".", 1).replace(",", "")
    head, _, tail = digits.replace(",", "").rpartition(".")
    value = Decimal(f"{head.replace('.', '')}.{tail}" if head or "." in digits else tail)
    value = value.scaleb(int(exponent)) if exponent else value
    divisor = Decimal(divisor_digits or 0)
    if divisor:
        value /= divisor
    return -value if sign else value


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
