"""The words and word parts of a text as numbered bins: the learned half of the router's view.

Words, pairs of words and runs of three to five bytes are hashed, in the same way on every machine
and in every process, so that training and verdicts see the same. A bin is no content: many
thousand different parts share it. That a part occurs counts, not how often.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from zlib import crc32

BITS = 14
BINS = 1 << BITS
MAX_CHARS_READ = 1_200  # characters looked at, and bytes of their words

_MASK = BINS - 1
_WORD = re.compile(r"[^\W_]+")

#: Of a run's hash: odd numbers below 2^22 whose sum times a byte stays below 2^32; what is read of
#: it are bits from the middle, which depend on all of a byte.
FACTORS = (2_654_435, 3_266_489, 3_144_047, 3_581_969, 2_246_823)
SHIFT = 8
_SHORTEST, _LANE = 3, 32  # bytes of a run; bits of a lane
_LANES = int.from_bytes(struct.pack("<I", _MASK) * MAX_CHARS_READ, "little")


def hashed_ngrams(text: str) -> frozenset[int]:
    """The bins of what occurs in the first words of a text."""
    line = f" {' '.join(bounded(text))} ".encode()[:MAX_CHARS_READ]
    words = [crc32(word) & _MASK for word in line.split()]
    pairs = [(3 * one + two + 1) & _MASK for one, two in pairwise(words)]
    return frozenset(words).union(pairs, *_runs(line))


def bounded(text: str) -> list[str]:
    """The words that are looked at."""
    return _WORD.findall(text[:MAX_CHARS_READ].lower())


def _runs(line: bytes) -> list[tuple[int, ...]]:
    """The hash of each run, by length of runs.

    All runs of a length are hashed at once, as one long number with a byte in each lane of 32
    bits: a product or a sum of such numbers is taken of every lane, and no lane overflows.
    """
    wide = bytearray(4 * len(line))
    wide[::4] = line
    lanes, total, found = int.from_bytes(wide, "little"), 0, []
    for at, factor in enumerate(FACTORS):
        total += (lanes >> (_LANE * at)) * factor
        if at + 1 >= _SHORTEST and len(line) > at:
            hashes = ((total >> SHIFT) & _LANES).to_bytes(4 * MAX_CHARS_READ, "little")
            found.append(struct.unpack_from(f"<{len(line) - at}I", hashes))
    return found
