"""Grounding: are the numbers, dates and words of an answer in the text that it is about?

Formatting is ignored: `1.234,50` and `1234.5` are one number. Signs and scales are not.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cached_property

from forebay.workers.checks.reading.dates import (
    MONTHS,
    WEEKDAYS,
    Date,
    Time,
    blanked,
    dates,
    days_of_unknown_months,
    duration_numbers,
    months,
    possible_times,
    times,
    without_zones,
)
from forebay.workers.checks.reading.derived import computed, converted, moved, quantities, spans
from forebay.workers.checks.reading.number_words import spelled_numbers
from forebay.workers.checks.reading.numerals import (
    CURRENCY_NAMES,
    Mention,
    mentions,
    normalized,
)
from forebay.workers.checks.reading.vocabulary import Vocabulary
from forebay.workers.checks.reading.words import (
    COMMON_WORDS,
    DEMONYMS,
    language,
    may_compare,
    words,
)
from forebay.workers.checks.repetition import copies_beginning

MIN_IDENTIFIER_CHARS, MAX_IDENTIFIER_CHARS = 4, 40
MIN_IDENTIFIER_DIGITS = 6  # shorter runs of digits occur in a text by chance
NEW_WORDS = 5  # of so many words of a value, one may be new
MIN_LONG_WORDS = 4  # longer words from which a share of them means something
NOUNS_HAVE_CAPITALS = frozenset({"de"})  # languages in which a capitalised word need be no name

_NAME = re.compile(r"(?<=[\w,;)] )[A-Z][a-z]{2,}")  # a capitalised word inside a sentence
_LIST_MARK = re.compile(r"^[^\S\n]*\d{1,2}[.)]\s", re.MULTILINE)
_TRUNK = re.compile(r"\(0\)")  # of a telephone number: `+44 (0)20 7946 0958`
_VERSION = re.compile(r"v?(\d+(?:\.\d+){2,}[\w.+-]*)", re.IGNORECASE)
_YEAR_MONTH = re.compile(r"(\d{4})-(\d{2})")
_LINK_PREFIX = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:(?://)?)?(?:www\.)?|/\Z", re.IGNORECASE)


class Source:
    """A text that answers are compared with. Each index of it is built once, when first needed."""

    def __init__(self, text: str) -> None:
        self._text = normalized(text)
        self._vocabulary = Vocabulary(self._text)

    @cached_property
    def _mentions(self) -> list[Mention]:
        return mentions(self._text)

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        spelled = spelled_numbers(self._vocabulary.words, self._text)
        return frozenset(spelled).union(*(mention.values for mention in self._mentions))

    @cached_property
    def _unscaled(self) -> frozenset[Decimal]:
        return self._numbers.union(*(mention.unscaled for mention in self._mentions))

    @cached_property
    def _sizes(self) -> frozenset[Decimal]:
        return frozenset(abs(value) for value in self._numbers)

    @cached_property
    def _derived(self) -> frozenset[Decimal]:
        """The numbers that follow from those of the text; made if an answer has others."""
        numbers = (one for one in self._mentions if one.is_number and one.values)
        return computed([max(one.values & one.unscaled or one.values) for one in numbers]).union(
            converted(quantities(self._text)), spans(self._dates, self._times)
        )

    @cached_property
    def _moved_dates(self) -> frozenset[Date]:
        return moved(self._dates, quantities(self._text))

    @cached_property
    def _dates(self) -> frozenset[Date]:
        return frozenset().union(*(meanings for _, meanings in dates(self._text)))

    @cached_property
    def _times(self) -> frozenset[Time]:
        written = (meanings for _, meanings in times(self._text))
        return frozenset(possible_times(self._text)).union(*written)

    @cached_property
    def _digits(self) -> str:
        return "".join(char for char in _TRUNK.sub("", self._text) if char.isdecimal())

    # --- numbers and dates -----------------------------------------------------------------------

    def has_number(self, value: float, *, unscaled: bool = False) -> bool:
        """Return whether the number occurs, in any formatting or as a word.

        Args:
            value: the number; its sign counts.
            unscaled: also accept `1.5` for `1.5 million`.
        """
        number = Decimal(repr(value))
        return number in (self._unscaled if unscaled else self._numbers) or number in self._derived

    def has_numbers_of(self, text: str) -> bool:
        """Return whether every date, and every number in digits, of another text occurs here.

        Prose has words for signs (`fell by 5 %`), so signs are ignored.
        """
        rest = _LIST_MARK.sub(" ", normalized(text))
        rest, are_known = self._without_moments(rest)
        return are_known and all(self._has_mention(mention, rest) for mention in mentions(rest))

    def _has_mention(self, mention: Mention, text: str) -> bool:
        sizes = {abs(value) for value in mention.values}
        digits = text[slice(*mention.span)]  # a version such as 10.0.4, or a list such as 1,2,3
        parts = set(map(Decimal, re.findall(r"\d+", digits)))
        if mention.is_number and "/" in digits:  # both parts, or their quotient
            return parts <= self._sizes or not self._sizes.isdisjoint(sizes - parts)
        if mention.is_number:
            return not (self._sizes.isdisjoint(sizes) and self._derived.isdisjoint(sizes))
        is_list = "," in digits and parts <= self._sizes
        return is_list or self._vocabulary.has_phrase(words(digits))

    def _without_moments(self, text: str) -> tuple[str, bool]:
        """Return the text without dates and times, and whether this text has all of them."""
        for moments, knows in ((dates, self._has_date), (times, self._times.__contains__)):
            spans = []
            for span, meanings in moments(text):
                if not any(knows(meaning) for meaning in meanings):
                    return text, False
                spans.append(span)
            text = blanked(text, spans)
        return text, True

    def _has_date(self, date: Date) -> bool:
        year, month, day = date
        years = self._years_of_days.get((month, day), set())
        is_given = bool(years) and (year is None or year in years or None in years)
        return is_given or (year, day) in self._days_of_unknown_months or date in self._moved_dates

    @cached_property
    def _years_of_days(self) -> dict[tuple[int, int], set[int | None]]:
        """The years in which the text has a day, by month and day; `None` for no year."""
        by_day: dict[tuple[int, int], set[int | None]] = {}
        for year, month, day in self._dates:
            by_day.setdefault((month, day), set()).add(year)
        return by_day

    @cached_property
    def _days_of_unknown_months(self) -> frozenset[tuple[int | None, int]]:
        return frozenset(days_of_unknown_months(self._text))

    # --- values ----------------------------------------------------------------------------------

    def has_text(self, value: str) -> bool:
        """Return whether a value occurs, as it is or in another formatting.

        A value of many words may have one new word in five: `The box arrived wet` is grounded in
        `my box was wet when it arrived`.
        """
        value = normalized(value)
        known = self._has_moment(value)
        if known is None:
            known = self._has_amount(value)
        if known is not None:
            return known
        value_words = words(value)
        if self._vocabulary.has_phrase(value_words) or self._vocabulary.has_phrase(
            words(_LINK_PREFIX.sub("", value))
        ):
            return True
        if version := _VERSION.fullmatch(value.strip()):
            return (
                re.search(rf"(?<![\d.])v?{re.escape(version[1])}(?!\.?\w)", self._text) is not None
            )
        if value.strip(" +()-/.").isdecimal() or not any(char.isalpha() for char in value):
            return self._has_digits(value)
        if self._has_identifier(value):
            return True
        return self.has_numbers_of(value) and self._has_most(value_words)

    def _has_identifier(self, value: str) -> bool:
        """Return whether a value with digits occurs but for spaces and marks: `LH 1234`."""
        chars = [char for char in value if char.isalnum()]
        if not MIN_IDENTIFIER_CHARS <= len(chars) <= MAX_IDENTIFIER_CHARS:
            return False
        pattern = r"[\W_]?".join(map(re.escape, chars))
        is_code = any(char.isdecimal() for char in chars)
        found = re.search(rf"(?<!\w){pattern}(?!\w)", self._text, re.IGNORECASE)
        return is_code and found is not None

    def has_code(self, code: str) -> bool:
        """Return whether a code such as `EUR` occurs, in its case; a currency in any spelling."""
        is_written = re.search(rf"(?<!\w){re.escape(code)}(?!\w)", self._text) is not None
        is_currency = code.casefold() in CURRENCY_NAMES
        return is_written or (is_currency and code.casefold() in self._vocabulary.exact)

    def count_text(self, value: str) -> int:
        """Count how often a value's words occur in a row."""
        return self._vocabulary.count(words(value))

    def _has_moment(self, value: str) -> bool | None:
        """Return whether a date, time or duration occurs; `None` if the value is none of them."""
        if (numbers := duration_numbers(value)) is not None:
            return self._vocabulary.has_phrase(words(value)) or self._sizes.issuperset(numbers)
        if month := _YEAR_MONTH.fullmatch(value.strip()):
            year_month = int(month[1]), int(month[2])
            return year_month in self._months or self._vocabulary.has_phrase(words(value))
        bare = without_zones(re.sub(r"(?<=\d)[Tt](?=\d)", " ", value))
        spans = [span for span, _ in (*dates(bare), *times(bare))]
        if not spans or set(words(blanked(bare, spans))) - WEEKDAYS:
            return None
        return self._without_moments(bare)[1]

    @cached_property
    def _months(self) -> frozenset[tuple[int, int]]:
        return frozenset({(year, month) for year, month, _ in self._dates if year}).union(
            months(self._text)
        )

    def _has_amount(self, value: str) -> bool | None:
        """Return whether an amount occurs, with its sign; `None` if the value is no amount."""
        found = mentions(value)
        if len(found) != 1 or not found[0].is_number:
            return None
        start, end = found[0].span
        currency = {*words(value), *value} & CURRENCY_NAMES
        others = re.sub(r"[\s.,+()-]", "", value[:start] + value[end:]).casefold()
        if others and others not in CURRENCY_NAMES:
            return None
        if currency - self._vocabulary.exact:
            return False
        if not found[0].values.isdisjoint(self._numbers | self._derived):
            return True
        is_identifier = not found[0].is_marked or value.strip().startswith("+")
        return is_identifier and self._has_run_of_digits(value)

    def _has_digits(self, value: str) -> bool:
        return self.has_numbers_of(value) or self._has_run_of_digits(value)

    def _has_run_of_digits(self, value: str) -> bool:
        digits = "".join(char for char in _TRUNK.sub("", value) if char.isdecimal())
        return len(digits) >= MIN_IDENTIFIER_DIGITS and digits in self._digits

    def _has_most(self, value_words: list[str]) -> bool:
        compared = [word for word in value_words if not word.isdecimal() and word not in MONTHS]
        missing = [word for word in compared if not self._vocabulary.has_form(word)]
        missing = [word for word in missing if word not in COMMON_WORDS]
        return len(missing) <= len(compared) // NEW_WORDS

    # --- prose -----------------------------------------------------------------------------------

    def has_names_of(self, text: str) -> bool:
        """Return whether every name of another text has its stem here.

        A word that is capitalised inside a sentence counts as a name. Names are not compared if
        the texts are in different languages, or in one that capitalises all nouns.
        """
        text = normalized(text)
        if language(self._text) in NOUNS_HAVE_CAPITALS or not may_compare(text, self._text):
            return True
        names = {name.casefold() for name in _NAME.findall(text)}
        names -= MONTHS.keys() | WEEKDAYS | DEMONYMS
        return all(map(self._vocabulary.has_stem, names))

    def share_of(self, text: str) -> float | None:
        """Return the share of another text's longer words whose stem occurs here.

        `None` if the other text has too few of them, or is in another language.
        """
        long = [word for word in words(text) if 4 <= len(word) <= 20 and word.isalpha()]  # noqa: PLR2004
        if len(long) < MIN_LONG_WORDS or not may_compare(text, self._text):
            return None
        return sum(map(self._vocabulary.has_stem, long)) / len(long)

    def begins_with(self, text: str) -> bool:
        """Return whether this text begins with the other one, but for a few words, and goes on."""
        return copies_beginning(self._vocabulary.words, words(text))
