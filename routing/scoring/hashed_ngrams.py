"""Feature hashing: the words, word pairs and byte n-grams of a text, as numbered bins.

The hashes are the same on every machine and in every process, so that training and verdicts see the
same bins. A bin reveals no content: thousands of n-grams share it. An n-gram counts once, however
often it occurs.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from zlib import crc32

BITS = 14
BINS = 1 << BITS
MAX_CHARS_READ = 1_200  # characters of the text, and bytes of its words

_MASK = BINS - 1
_WORD = re.compile(r"[^\W_]+")

#: The hash of an n-gram is the sum of its bytes, each times its factor. The factors are odd numbers
#: below 2^22, so that the sum of all products stays below 2^32. The bin is read from the middle
#: bits, which depend on every bit of a byte.
FACTORS = (2_654_435, 3_266_489, 3_144_047, 3_581_969, 2_246_823)
SHIFT = 8
_MIN_N = 3  # bytes of the shortest n-gram; the longest has as many as there are factors
_CELL_BITS = 32
_CELL_MASKS = int.from_bytes(struct.pack("<I", _MASK) * MAX_CHARS_READ, "little")


def hashed_ngrams(text: str) -> frozenset[int]:
    """Return the bins of the words, word pairs and byte n-grams at the start of a text."""
    line = f" {' '.join(words_read(text))} ".encode()[:MAX_CHARS_READ]
    words = [crc32(word) & _MASK for word in line.split()]
    pairs = [(3 * left + right + 1) & _MASK for left, right in pairwise(words)]
    return frozenset(words).union(pairs, *_byte_ngrams(line))


def words_read(text: str) -> list[str]:
    """Return the words that are read, in lower case."""
    return _WORD.findall(text[:MAX_CHARS_READ].lower())


def _byte_ngrams(line: bytes) -> list[tuple[int, ...]]:
    """Return the bins of all n-grams, in a tuple for each n.

    All n-grams of one length are hashed at once (SIMD within a register): the bytes lie in cells of
    32 bits of one large integer. A product or a sum of such integers acts on every cell, and no
    cell overflows.
    """
    wide = bytearray(4 * len(line))
    wide[::4] = line
    cells, total, ngrams = int.from_bytes(wide, "little"), 0, []
    for at, factor in enumerate(FACTORS):
        total += (cells >> (_CELL_BITS * at)) * factor
        if at + 1 >= _MIN_N and len(line) > at:
            hashes = ((total >> SHIFT) & _CELL_MASKS).to_bytes(4 * MAX_CHARS_READ, "little")
            ngrams.append(struct.unpack_from(f"<{len(line) - at}I", hashes))
    return ngrams
