"""Does the text really say so? Numbers, dates and words of an answer are looked up in its source.

Formatting is forgiven, invention is not: `1.234,50`, `1,234.50` and `1234.5` are one number, and
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

MIN_WORDS_TO_COMPARE = 6  # words; of fewer nothing can be told
COPIED = 0.8  # of the words, in order, and it is a copy

Date = tuple[int | None, int, int]  # year where it is given, month, day

_WORD = re.compile(r"\w+")
_SPACES = " \u00a0\u202f'\u2019"
_NUMBER = re.compile(rf"\d+(?:[{_SPACES}]\d{{3}}(?!\d))*(?:[.,]\d+)*")
_SCALE = re.compile(
    r"\s?(%|percent\b|k\b|thousand\b|m\b|mn\b|million\b|bn\b|billion\b)", re.IGNORECASE
)
_SCALES = {"%": "0.01", "p": "0.01", "k": "1e3", "t": "1e3", "m": "1e6", "b": "1e9"}
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z][a-z]{2,}")  # a capital inside a sentence
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
    """The words of a text, folded so that case, width and punctuation do not matter."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def readings(text: str) -> Iterator[frozenset[Decimal]]:
    """For each number written in digits, all the values that its writing may stand for."""
    for match in _NUMBER.finditer(text):
        values = _values(match.group())
        if scale := _SCALE.match(text, match.end()):
            factor = Decimal(_SCALES[scale.group(1)[0].lower()])
            values |= {value * factor for value in values}
        yield frozenset(values)


def _values(token: str) -> set[Decimal]:
    pieces = re.split(rf"[{_SPACES}]", token)
    whole = "".join(pieces)
    found = {Decimal(piece) for piece in pieces if piece.isdecimal() and len(pieces) > 1}
    marks = [char for char in whole if char in ".,"]
    if len(set(marks)) == 1 and len(marks) > 1:  # 1.234.567, or a version, or an address
        return found | {Decimal(piece) for piece in [*re.split("[.,]", whole), _joined(whole)]}
    if len(marks) == 1 and whole[-4:-3] in {
        ".",
        ",",
    }:  # 1,234 is one thousand or one point two, by country
        found.add(Decimal(_joined(whole)))
    return found | {Decimal(_with_point(whole, marks))}


def _joined(number: str) -> str:
    return re.sub("[.,]", "", number)


def _with_point(number: str, marks: list[str]) -> str:
    if not marks:
        return number
    head, _, tail = number.rpartition(marks[-1])
    return f"{_joined(head)}.{tail}"


def dates(text: str) -> Iterator[tuple[tuple[int, int], frozenset[Date]]]:
    """Each date: where it stands, and the dates it may mean (3/4 is in March or in April)."""
    for match in _YEAR_FIRST.finditer(text):
        year, month, day = map(int, match.groups())
        yield match.span(), frozenset({(year, month, day)})
    for match in _YEAR_LAST.finditer(text):
        one, two, year = map(int, match.groups())
        year += 2000 if year < 100 else 0  # noqa: PLR2004 - two digits
        yield match.span(), frozenset({(year, one, two), (year, two, one)})
    for match in _DAY_MONTH.finditer(text):
        yield match.span(), frozenset({_named(*match.group(3, 2, 1))})
    for match in _MONTH_DAY.finditer(text):
        yield match.span(), frozenset({_named(*match.group(3, 1, 2))})


def _named(year: str | None, month: str, day: str) -> Date:
    return int(year) if year else None, _MONTHS.index(month.lower()) + 1, int(day)


class Source:
    """A text that answers are held against. Everything is looked up lazily and once."""

    def __init__(self, text: str) -> None:
        self._text = unicodedata.normalize("NFKC", text)

    @cached_property
    def _words(self) -> list[str]:
        signs = [names for sign, names in _CURRENCIES.items() if sign in self._text]
        return words(" ".join([self._text, *signs]))

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self._words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(word[:5] for word in self._vocabulary)

    @cached_property
    def _line(self) -> str:
        return f" {' '.join(self._words)} "

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        spelled = {Decimal(_NUMBER_WORDS[one]) for one in self._vocabulary & _NUMBER_WORDS.keys()}
        return frozenset(spelled.union(*readings(self._text)))

    @cached_property
    def _dates(self) -> frozenset[Date]:
        return frozenset().union(*(meant for _, meant in dates(self._text)))

    @cached_property
    def _digits(self) -> str:
        return "".join(char for char in self._text if char.isdecimal())

    def has_number(self, value: float) -> bool:
        """Whether the number occurs, in any formatting or as a word."""
        return Decimal(repr(value)) in self._numbers

    def has_numbers_of(self, text: str) -> bool:
        """Whether every date, and every number in digits, of another text occurs here."""
        rest = _LIST_MARK.sub(" ", unicodedata.normalize("NFKC", text))
        for (start, end), meant in list(dates(rest)):
            if not any(self._has_date(date) for date in meant):
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
        """Whether a value occurs, as it is or in another formatting.

        A value of many words may bring one new word in five: `The box arrived wet` is grounded
        in `my box was wet when it arrived`.
        """
        wanted = words(value)
        if f" {' '.join(wanted)} " in self._line:
            return True
        if value.strip(" +()-/.").isdecimal() or not any(char.isalpha() for char in value):
            return self._has_digits(value)
        return self.has_numbers_of(value) and self._has_most(wanted)

    def _has_digits(self, value: str) -> bool:
        digits = "".join(char for char in value if char.isdecimal())
        long_enough = 6  # as an identifier or a telephone number; shorter ones occur by chance
        return self.has_numbers_of(value) or (len(digits) >= long_enough and digits in self._digits)

    def _has_most(self, wanted: list[str]) -> bool:
        named = [word for word in wanted if not word.isdecimal() and word[:3] not in _MONTHS]
        missing = [word for word in named if word not in self._vocabulary]
        return len(missing) <= len(named) // 5

    def has_names_of(self, text: str) -> bool:
        """Whether every word that another text capitalises inside a sentence has its stem here.

        A German noun counts as a name: there a new word costs an escalation.
        """
        names = _NAME.findall(unicodedata.normalize("NFKC", text))
        return all(name.casefold()[:5] in self._stems for name in names)

    def share_of(self, text: str) -> float | None:
        """Which share of another text's longer words have a stem that occurs here; none if few."""
        long = [word for word in words(text) if 4 <= len(word) <= 20 and word.isalpha()]  # noqa: PLR2004
        if len(long) < 4:  # noqa: PLR2004 - too few to tell
            return None
        return sum(word[:5] in self._stems for word in long) / len(long)

    def begins_with(self, text: str) -> bool:
        """Whether another text is, but for a few words, how this one begins; and more follows."""
        copied = words(text)
        beginning = self._words[: len(copied)]
        if (
            len(copied) < MIN_WORDS_TO_COMPARE
            or len(self._words) < len(copied) + MIN_WORDS_TO_COMPARE
        ):
            return False
        alike = SequenceMatcher(None, copied, beginning, autojunk=False).ratio()
        return alike >= COPIED


def named_options(options: Any, source: Source) -> list[str]:
    """Those of a schema's options that the text names; none where some are not words."""
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return []
    return [option for option in options if option.strip() and source.has_text(option)]


_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*\s*\Z")


def ends(text: str) -> bool:
    """Whether the text ends as a sentence does."""
    return _END.search(text) is not None
