"""The final answer of a text, if it has one: a number, a choice, a yes or no.

Formatting is ignored: `18`, `$18.00`, `#### 18` and `so 9 * 2 = 18` come down to the same number.
"""

from __future__ import annotations

import re
from decimal import Decimal

SHORT_TEXT_WORDS = 8  # a text of at most so many words with one number in it is about that number
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
    r"(\d++(?:[.,]\d++)*|\.\d++)(?:/(\d++(?!/)))?(?!\w*+[-/]\d)"
)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SUM = re.compile(r"\d\s*[=\u2248]|[=\u2248]\s*[-\u2212]?[$\u20ac\u00a3]?\s?\d")


def decides(text: str) -> bool:
    """Return whether the text has a final answer, or is a literal such as JSON or a tuple."""
    return final_answer(text) is not None or is_literal(text)


def final_answer(text: str) -> Decimal | str | bool | None:
    """Return the number, the letter or the truth that a text comes down to; `None` for prose."""
    marked = _after_mark(text)
    core = (marked if marked is not None else text).strip(_FORMATTING)
    if choice := _CHOICE.match(core.upper() if len(core) == 1 else core):
        return choice[1]
    if truth := _TRUTH.match(core):
        return truth[1].casefold() in {"yes", "true"}
    if is_literal(core):
        return None
    is_short = len(core.split()) <= SHORT_TEXT_WORDS and len(numbers(core)) == 1
    return final_number(text) if is_short or marked is not None or _SUM.search(core) else None


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
    return next(reversed(numbers(text)), None)


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
    return text.strip().startswith(("[", "{", "(")) and text.strip().endswith(("]", "}", ")"))


def folded(text: str) -> str:
    """Return the text without formatting around it, in one case, with single spaces."""
    return " ".join(text.strip(_FORMATTING).casefold().split())


def _after_mark(text: str) -> str | None:
    """Return the rest of the line after the last mark of an answer; `None` without a mark."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].strip()
    line = rest.splitlines()[0] if rest else ""
    return line.partition("}")[0] if "boxed" in marks[-1][0] else line or None


def _value(sign: str, digits: str, divisor_digits: str | None) -> Decimal:
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and "." not in digits:
        digits = digits.replace(",", ".")
    elif digits.rfind(",") > digits.rfind("."):
        digits = digits.replace(".", "").replace(",", ".", 1).replace(",", "")
    head, _, tail = digits.replace(",", "").rpartition(".")
    value = Decimal(f"{head.replace('.', '')}.{tail}" if head or "." in digits else tail)
    divisor = Decimal(divisor_digits or 0)
    if divisor:
        value /= divisor
    return -value if sign else value


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
