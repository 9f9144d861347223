"""The words of a text as an index: accents, umlauts and the endings of words do not matter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property

from forebay.workers.checks.reading.numerals import CURRENCIES
from forebay.workers.checks.reading.words import COMMON_WORDS, words

MAX_ABBREVIATION = 4  # letters of a word that may stand for a longer one
MIN_BEGINNING = 7  # letters of the beginning of a longer word that may stand for it
STEM_CHARS = 5  # the beginning of a word that stands for its stem

_LETTERS_WITH_MARKS = (*range(0xC0, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x1F00))
_PLAIN_LETTERS = {code: unicodedata.normalize("NFD", chr(code))[0] for code in _LETTERS_WITH_MARKS}
_PLAIN_LETTERS |= {
    ord(char): plain for char, plain in zip("øđłıæœ", ("o", "d", "l", "i", "ae", "oe"), strict=True)
}
_E_FOR_UMLAUT = re.compile("(?<=[aou])e")
_ENDING = re.compile(r"(?<=[^\W\d_]{3})(?:es|en|er|s|n|e)$")
#: Endings of Russian and Ukrainian nouns, names and adjectives.
_CYRILLIC_ENDING = re.compile(
    r"(?<=[Ѐ-ӿ]{3})"
    r"(?:и?(?:ами|ями|ыми|ими|[ое]го|[ое]му|[аоеиуыюя][ймхюяев]|[аеиоуыьюя]))$"  # noqa: RUF001 - Russian
)
#: Endings of names and nouns in Polish and Czech, for texts with letters of these languages.
_WEST_SLAVIC = frozenset("ąćęłńśźżčěřůž")
_WEST_SLAVIC_ENDING = re.compile(
    r"(?<=[^\W\d_]{3})(?:owi|iego|iemu|ego|emu|iej|ami|ach|ej|em|om|ie|ou|[aeiouy])$"
)
_ARABIC_ARTICLE = re.compile(
    "^(?:[\u0648\u0641]?[\u0628\u0643]?\u0627\u0644|\u0644\u0644|\u0648)(?=[\u0600-\u06ff]{3})"
)
_HANGUL = re.compile("[\uac00-\ud7a3]{2,}")
_VOWELS = frozenset("aeiou")


def plain(word: str) -> str:
    """Return a word without accents and umlauts: `eglise`, and `muller` also for `mueller`."""
    return _E_FOR_UMLAUT.sub("", word.translate(_PLAIN_LETTERS))


def _abbreviates(short: str, word: str) -> bool:
    """Return whether a word may be shortened so: by its end, or by letters in its middle."""
    if word.startswith(short):
        return len(short) > 2  # noqa: PLR2004 - `in` is no short form of `information`
    if len(short) < 3 and not _VOWELS.isdisjoint(short):  # noqa: PLR2004 - `rd`, but not `le`
        return False
    letters = iter(word)
    return short[-1] == word[-1] and all(letter in letters for letter in short)


def _bare(word: str) -> str:
    """Return a word without its ending, and without an Arabic article."""
    return _ARABIC_ARTICLE.sub("", _CYRILLIC_ENDING.sub("", _ENDING.sub("", word)))


class Vocabulary:
    """The words of a text. Each index of them is built once, when first needed."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def words(self) -> list[str]:
        """The words in order, and then the other names of currencies."""
        found = words(self._text)
        return [*found, *self._currency_names(found)]

    def _currency_names(self, found: list[str]) -> Iterator[str]:
        """Yield the other names of each currency that the text names, `eur` for `€`."""
        present = {*found, *(char for char in self._text if not char.isalnum())}
        for names in CURRENCIES:
            if names & present:
                yield from sorted(names)

    @cached_property
    def exact(self) -> frozenset[str]:
        """The words as they are written, in small letters."""
        return frozenset(self.words)

    @cached_property
    def _plain(self) -> list[str]:
        return [plain(word) for word in self.words]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._plain)

    @cached_property
    def _bare(self) -> frozenset[str]:
        return frozenset(map(_bare, self._known))

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(word[:STEM_CHARS] for word in self._known)

    @cached_property
    def _in_order(self) -> str:
        return f" {' '.join(self._plain)} "

    def has_phrase(self, phrase: Iterable[str]) -> bool:
        """Return whether these words occur in a row."""
        row = [plain(word) for word in phrase]
        known = self._known.issuperset(row)  # if not, there is nothing to search for
        return known and f" {' '.join(row)} " in self._in_order

    def count(self, phrase: Iterable[str]) -> int:
        """Count how often these words occur in a row."""
        row = " ".join(plain(word) for word in phrase)
        return self._in_order.count(f" {row} ") if row else 0

    def has_form(self, word: str) -> bool:
        """Return whether the word occurs, perhaps with another ending, or abbreviated."""
        word = plain(word)
        if word in self._known or not word.isalpha():
            return word in self._known
        return (
            _bare(word) in self._bare
            or self._has_abbreviation(word)
            or (self._is_west_slavic and _WEST_SLAVIC_ENDING.sub("", word) in self._slavic)
            or self._begins_a_word(word)
        )

    @cached_property
    def _is_west_slavic(self) -> bool:
        return not _WEST_SLAVIC.isdisjoint(self._text)

    @cached_property
    def _slavic(self) -> frozenset[str]:
        return frozenset(_WEST_SLAVIC_ENDING.sub("", word) for word in self._known)

    def _begins_a_word(self, word: str) -> bool:
        """Return whether a longer word begins so: a Korean one with a particle, or `Goethestr.`."""
        may_begin = len(word) >= MIN_BEGINNING or _HANGUL.fullmatch(word) is not None
        return may_begin and any(known.startswith(word) for known in self._known)

    def _has_abbreviation(self, word: str) -> bool:
        """Return whether a short word may stand for a longer one: `pkwy`, `st`, `corp`."""
        short = self._short.get(word[0], ()) if len(word) > MAX_ABBREVIATION else ()
        return any(_abbreviates(part, word) for part in short)

    @cached_property
    def _short(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for word in self._known:
            if word.isalpha() and 1 < len(word) <= MAX_ABBREVIATION and word not in COMMON_WORDS:
                found.setdefault(word[0], set()).add(word)
        return found

    def has_stem(self, word: str) -> bool:
        """Return whether a word occurs that begins in the same way."""
        return plain(word)[:STEM_CHARS] in self._stems
