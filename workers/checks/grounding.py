"""Grounding: are the numbers, dates and words of an answer in the text that it is about?

Formatting is ignored: `1.234,50` and `1234.5` are one number. Signs and scales are not.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cached_property

from forebay.workers.checks.facts.computed_fields import may_compute
from forebay.workers.checks.facts.moments import Moments
from forebay.workers.checks.facts.numbers import Numbers
from forebay.workers.checks.reading.dates import MONTHS, WEEKDAYS, duration_numbers
from forebay.workers.checks.reading.numerals import CURRENCY_NAMES, mentions, normalized
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

#: A capitalised word inside a sentence.
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z\u00c0-\u00de][a-z\u00df-\u024f]{2,}")
_LIST_MARK = re.compile(r"^[^\S\n]*\d{1,2}[.)]\s", re.MULTILINE)
_TRUNK = re.compile(r"\(0\)")  # of a telephone number: `+44 (0)20 7946 0958`
_COUNTRY = re.compile(r"\A\s*(?:\+|00)\d{1,3}(?=\D)")  # of a telephone number: `+33 1 44 55`
_VERSION = re.compile(r"v?(\d+(?:\.\d+){2,}[\w.+-]*)", re.IGNORECASE)
_YEAR_MONTH = re.compile(r"(\d{4})-(\d{2})")
_LINK_PREFIX = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:(?://)?)?(?:www\.)?|/\Z", re.IGNORECASE)
#: Values whose words all have to be in the text: an address of mail or of a site, and a code of
#: capitals and digits, such as `TP 1355` and `88-B`.
_WHOLE = re.compile(
    r"[^\s@]+@[^\s@]+|(?:https?://)?(?:[\w-]+\.)+[a-z]{2,}(?:/\S*)?"
    r"|(?=.*[A-Z])(?=.*\d)[A-Z0-9]+(?:[ ./-][A-Z0-9]+)*"
)
_AND = frozenset({"and", "und", "et", "y", "e", "en", "i"})
#: Small words inside names.
_PARTICLES = _AND | frozenset(
    {"van", "von", "der", "den", "de", "del", "della", "la", "le", "les", "du", "da", "do", "dos"}
    | {"das", "di", "ten", "ter", "zu", "zur", "zum", "bin", "ibn", "al", "el", "of", "&", "'t"}
)


class Source:
    """A text that answers are compared with. Each index of it is built once, when first needed."""

    def __init__(self, text: str) -> None:
        self._text = normalized(text)
        self._vocabulary = Vocabulary(self._text)
        self._moments = Moments(self._text)
        self._numbers = Numbers(self._text, self._vocabulary, self._moments)

    def may_compute(self, name: str, description: str) -> bool:
        """Return whether a field may hold a computed number; see `computed_fields`."""
        return may_compute(name, description, self._folded)

    @cached_property
    def _folded(self) -> str:
        return self._text.casefold()

    def has_number(self, value: float, *, unscaled: bool = False, computed: bool = True) -> bool:
        """Return whether the number occurs, or may be computed; see `Numbers.has`."""
        return self._numbers.has(Decimal(repr(value)), unscaled=unscaled, computed=computed)

    def has_numbers_of(self, text: str, *, computed: bool = True) -> bool:
        """Return whether every date, and every number in digits, of another text occurs here.

        Prose has words for signs (`fell by 5 %`), so signs are ignored.

        Args:
            text: the other text.
            computed: whether to accept numbers that may be computed.
        """
        rest = _LIST_MARK.sub(" ", normalized(text))
        rest, are_known = self._moments.without_moments(rest)
        return are_known and all(
            self._numbers.has_mention(mention, rest, computed=computed)
            for mention in mentions(rest)
        )

    # --- values ----------------------------------------------------------------------------------

    def has_text(self, value: str, *, computed: bool = True) -> bool:
        """Return whether a value occurs, as it is or in another formatting.

        A value of many words may have one new word in five: `The box arrived wet` is grounded in
        `my box was wet when it arrived`. A name, an address or a code may have none.

        Args:
            value: the value.
            computed: whether to accept a number that follows from others, if the value is a price.
        """
        value = normalized(value)
        known = self._has_moment(value)
        if known is None:
            known = self._has_amount(value, computed)
        if known is not None:
            return known
        forms = words(value), words(_LINK_PREFIX.sub("", value))
        if any(map(self._vocabulary.has_phrase, forms)):
            return True
        if version := _VERSION.fullmatch(value.strip()):
            return self._has_version(version[1])
        if value.strip(" +()-/.").isdecimal() or not any(char.isalpha() for char in value):
            return self._has_digits(value)
        return self._has_identifier(value) or self._has_words(value)

    def _has_version(self, version: str) -> bool:
        pattern = rf"(?<![\d.])v?{re.escape(version)}(?!\.?\w)"
        return re.search(pattern, self._text) is not None

    def _has_words(self, value: str) -> bool:
        """Return whether the words of a value occur: all of them, or most if it is prose."""
        value_words = words(value)
        if _WHOLE.fullmatch(value):
            return self._vocabulary.exact.issuperset(value_words)
        if is_name(value):
            return all(word in _AND or self._vocabulary.has_form(word) for word in value_words)
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
            return self._vocabulary.has_phrase(words(value)) or all(
                map(self._numbers.has_size, numbers)
            )
        if month := _YEAR_MONTH.fullmatch(value.strip()):
            year_month = int(month[1]), int(month[2])
            return year_month in self._moments.months or self._vocabulary.has_phrase(words(value))
        return self._moments.has(value)

    def _has_amount(self, value: str, computed: bool) -> bool | None:  # noqa: FBT001 - as given
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
        is_computed = computed and bool(others)
        if any(self._numbers.has(one, computed=is_computed) for one in found[0].values):
            return True
        is_identifier = not found[0].is_marked or value.strip().startswith("+")
        return is_identifier and self._has_run_of_digits(value)

    def _has_digits(self, value: str) -> bool:
        return self.has_numbers_of(value, computed=False) or self._has_run_of_digits(value)

    def _has_run_of_digits(self, value: str) -> bool:
        """Return whether the digits occur in a row; of a telephone number, those of the country."""
        digits = _digits(_COUNTRY.sub("", value))
        return len(digits) >= MIN_IDENTIFIER_DIGITS and digits in _digits(self._text)

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


def is_name(value: str) -> bool:
    """Return whether a value reads as a name: each of its words is capitalised or a particle."""
    parts = [part for part in re.split(r"[\s-]+", value.strip(" .")) if part]
    others = {part.casefold() for part in parts if not part[:1].isupper()}
    return len(parts) > max(1, len(others)) and others <= _PARTICLES


def _digits(text: str) -> str:
    return "".join(char for char in _TRUNK.sub("", text) if char.isdecimal())
