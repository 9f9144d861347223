"""Unicode's normal form NFKC, in time that is linear in the text.

`unicodedata.normalize` sorts the marks on one letter in quadratic time, and holds the interpreter
lock meanwhile: 64,000 accents without a letter take seconds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

MAX_PIECE_CHARS = 100  # that are normalized at once
MAX_MARKS = 30  # on one letter, after which a text may be cut in any case (UAX #15, stream-safe)

#: Characters besides marks that a letter before them may absorb: Korean vowels and final
#: consonants, and the voice marks of half-width Japanese.
_ABSORBED = frozenset([*map(chr, range(0x1160, 0x1200)), "\uff9e", "\uff9f"])


def nfkc(text: str) -> str:
    """Return the text in NFKC. Only a letter with very many marks on it may come out otherwise."""
    if len(text) <= MAX_PIECE_CHARS or text.isascii():
        return unicodedata.normalize("NFKC", text)
    return "".join(unicodedata.normalize("NFKC", piece) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces that begin with a letter of their own."""
    start = 0
    while start < len(text):
        end = start + MAX_PIECE_CHARS
        marks = 0
        while end < len(text) and marks < MAX_MARKS and _is_absorbed(text[end]):
            end, marks = end + 1, marks + 1
        yield text[start:end]
        start = end


def _is_absorbed(char: str) -> bool:
    return char in _ABSORBED or unicodedata.category(char).startswith("M")
