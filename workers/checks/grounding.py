"""Grounding: are the numbers, dates and words of an answer in the text that it is about?

Formatting is ignored, invention is not: `1.234,50`, `1,234.50` and `1234.5` are one number, and
`9 April 2026` is `2026-04-09`. Month and number words are English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

MIN_WORDS_TO_COMPARE = 6  # fewer words say nothing about copying
MAX_WORDS_TO_COMPARE = 200  # of each text; the comparison takes more than the square of them
MIN_COPIED_WORDS = 0.8  # share of words, in order, from which a text is a copy

STEM_CHARS = 5  # the beginning of a word that stands for its stem
MIN_IDENTIFIER_DIGITS = 6  # shorter runs of digits occur in a text by chance
NEW_WORDS = 5  # of so many words of a value, one may be new
MIN_LONG_WORDS = 4  # longer words from which a share of them means something

Date = tuple[int | None, int, int]  # year if it is given, month, day

_WORD = re.compile(r"\w+")
_SPACES = " \u00a0\u202f'\u2019"
_NUMBER = re.compile(rf"\d+(?:[{_SPACES}]\d{{3}}(?!\d))*(?:[.,]\d+)*")
_SCALE = re.compile(
    r"\s?(%|percent\b|k\b|thousand\b|m\b|mn\b|million\b|bn\b|billion\b)", re.IGNORECASE
)
_SCALES = {"%": "0.01", "p": "0.01", "k": "1e3", "t": "1e3", "m": "1e6", "b": "1e9"}
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z][a-z]{2,}")  # a capitalised word inside a sentence
_LIST_MARK = re.compile(r"^[^\S\n]*\d{1,2}[.)]\s", re.MULTILINE)

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_YEAR_FIRST = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
_YEAR_LAST = re.compile(r"\b(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})\b")
_DAY_MONTH = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(\d{{4}}))?\b", re.IGNORECASE
)
_MONTH_DAY = re.compile(
    rf"\b{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?\b", re.IGNORECASE
)

_NUMBER_WORDS = {
    "no": 0, "none": 0, "nobody": 0, "nothing": 0, "zero": 0, "one": 1, "two": 2, "three": 3,
    "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "dozen": 12, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100, "once": 1, "twice": 2,
}  # fmt: skip
_CURRENCIES = {"€": "eur euro euros", "$": "usd dollar dollars", "£": "gbp pound pounds"}


def words(text: str) -> list[str]:
    """Return the words of a text, folded so that case, width and punctuation do not matter."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def readings(text: str) -> Iterator[frozenset[Decimal]]:
    """Yield, for each number written in digits, all the values that it may stand for."""
    for match in _NUMBER.finditer(text):
        values = _values(match.group())
        if scale := _SCALE.match(text, match.end()):
            factor = Decimal(_SCALES[scale.group(1)[0].lower()])
            values |= {value * factor for value in values}
        yield frozenset(values)


def _values(token: str) -> set[Decimal]:
    groups = re.split(rf"[{_SPACES}]", token)
    number = "".join(groups)
    values = {Decimal(group) for group in groups if group.isdecimal() and len(groups) > 1}
    marks = [char for char in number if char in ".,"]
    if len(set(marks)) == 1 and len(marks) > 1:  # 1.234.567, or a version, or an address
        parts = [*re.split("[.,]", number), _without_marks(number)]
        return values | {Decimal(part) for part in parts}
    if len(marks) == 1 and number[-4:-3] in {".", ","}:
        # 1,234 is 1234 or 1.234, by country.
        values.add(Decimal(_without_marks(number)))
    return values | {Decimal(_with_point(number, marks))}


def _without_marks(number: str) -> str:
    return re.sub("[.,]", "", number)


def _with_point(number: str, marks: list[str]) -> str:
    """Return the number with a point for its last mark, and without its other marks."""
    if not marks:
        return number
    head, _, tail = number.rpartition(marks[-1])
    return f"{_without_marks(head)}.{tail}"


def dates(text: str) -> Iterator[tuple[tuple[int, int], frozenset[Date]]]:
    """Yield the place of each date, and the dates it may mean (3/4 is in March or in April)."""
    for match in _YEAR_FIRST.finditer(text):
        year, month, day = map(int, match.groups())
        yield match.span(), frozenset({(year, month, day)})
    for match in _YEAR_LAST.finditer(text):
        first, second, year = map(int, match.groups())
        year += 2000 if year < 100 else 0  # noqa: PLR2004 - two digits
        yield match.span(), frozenset({(year, first, second), (year, second, first)})
    for match in _DAY_MONTH.finditer(text):
        yield match.span(), frozenset({_date(*match.group(3, 2, 1))})
    for match in _MONTH_DAY.finditer(text):
        yield match.span(), frozenset({_date(*match.group(3, 1, 2))})


def _date(year: str | None, month: str, day: str) -> Date:
    return int(year) if year else None, _MONTHS.index(month.lower()) + 1, int(day)


class Source:
    """A text that answers are compared with. Each index of it is built once, when first needed."""

    def __init__(self, text: str) -> None:
        self._text = unicodedata.normalize("NFKC", text)

    @cached_property
    def _words(self) -> list[str]:
        currencies = [names for sign, names in _CURRENCIES.items() if sign in self._text]
        return words(" ".join([self._text, *currencies]))

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self._words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(word[:STEM_CHARS] for word in self._vocabulary)

    @cached_property
    def _spaced_words(self) -> str:
        return f" {' '.join(self._words)} "

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        spelled = {Decimal(_NUMBER_WORDS[word]) for word in self._vocabulary & _NUMBER_WORDS.keys()}
        return frozenset(spelled.union(*readings(self._text)))

    @cached_property
    def _dates(self) -> frozenset[Date]:
        return frozenset().union(*(meanings for _, meanings in dates(self._text)))

    @cached_property
    def _digits(self) -> str:
        return "".join(char for char in self._text if char.isdecimal())

    def has_number(self, value: float) -> bool:
        """Return whether the number occurs, in any formatting or as a word."""
        return Decimal(repr(value)) in self._numbers

    def has_numbers_of(self, text: str) -> bool:
        """Return whether every date, and every number in digits, of another text occurs here."""
        rest = _LIST_MARK.sub(" ", unicodedata.normalize("NFKC", text))
        for (start, end), meanings in list(dates(rest)):
            if not any(self._has_date(date) for date in meanings):
                return False
            rest = rest[:start] + " " * (end - start) + rest[end:]
        return all(values & self._numbers for values in readings(rest))

    def _has_date(self, date: Date) -> bool:
        year, month, day = date
        return any(
            (month, day) == other[1:] and (year is None or other[0] in (year, None))
            for other in self._dates
        )

    def has_text(self, value: str) -> bool:
        """Return whether a value occurs, as it is or in another formatting.

        A value of many words may have one new word in five: `The box arrived wet` is grounded in
        `my box was wet when it arrived`.
        """
        value_words = words(value)
        known = self._vocabulary.issuperset(value_words)  # if not, there is nothing to search for
        if known and f" {' '.join(value_words)} " in self._spaced_words:
            return True
        if value.strip(" +()-/.").isdecimal() or not any(char.isalpha() for char in value):
            return self._has_digits(value)
        return self.has_numbers_of(value) and self._has_most(value_words)

    def _has_digits(self, value: str) -> bool:
        digits = "".join(char for char in value if char.isdecimal())
        is_identifier = len(digits) >= MIN_IDENTIFIER_DIGITS and digits in self._digits
        return self.has_numbers_of(value) or is_identifier

    def _has_most(self, value_words: list[str]) -> bool:
        plain = [word for word in value_words if not word.isdecimal() and word[:3] not in _MONTHS]
        missing = [word for word in plain if word not in self._vocabulary]
        return len(missing) <= len(plain) // NEW_WORDS

    def has_names_of(self, text: str) -> bool:
        """Return whether every name of another text has its stem here.

        A word that is capitalised inside a sentence counts as a name, and so do German nouns:
        there a new word costs an escalation.
        """
        names = _NAME.findall(unicodedata.normalize("NFKC", text))
        return all(name.casefold()[:STEM_CHARS] in self._stems for name in names)

    def share_of(self, text: str) -> float | None:
        """Return the share of another text's longer words whose stem occurs here.

        `None` if the other text has too few of them.
        """
        long = [word for word in words(text) if 4 <= len(word) <= 20 and word.isalpha()]  # noqa: PLR2004
        if len(long) < MIN_LONG_WORDS:
            return None
        return sum(word[:STEM_CHARS] in self._stems for word in long) / len(long)

    def begins_with(self, text: str) -> bool:
        """Return whether this text begins with the other one, but for a few words, and goes on."""
        other = words(text)
        if min(len(other), len(self._words) - len(other)) < MIN_WORDS_TO_COMPARE:
            return False
        other = other[:MAX_WORDS_TO_COMPARE]
        beginning = self._words[: len(other)]
        alike = SequenceMatcher(None, other, beginning, autojunk=False).ratio()
        return alike >= MIN_COPIED_WORDS


def named_options(options: Any, source: Source) -> list[str]:
    """Return the options that the text names; nothing if some option is no string."""
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return []
    return [option for option in options if option.strip() and source.has_text(option)]


_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*\s*\Z")


def ends_sentence(text: str) -> bool:
    """Return whether the text ends as a sentence does."""
    return _END.search(text) is not None
