"""The words and word parts of a text as numbered bins: the learned half of the router's view.

Words, pairs of words and runs of three to five bytes are hashed with CRC-32, which is the same on
every machine and in every process, so training and verdicts see the same. A bin is no content: many
thousand different parts share it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from zlib import crc32

BITS = 14
BINS = 1 << BITS
SEEN = 1_200  # characters looked at
RUNS = (3, 4, 5)  # bytes; over the borders of words

_MASK = BINS - 1
_WORD = re.compile(r"[^\W_]+")


def bins(text: str) -> dict[int, float]:
    """Weight by bin: logarithmic in how often its parts occur; the vector has length one."""
    words = _WORD.findall(text[:SEEN].lower())
    line = f" {' '.join(words)} ".encode()
    hashes = [crc32(word.encode()) & _MASK for word in words]
    hashes += [crc32(f"{one} {two}".encode()) & _MASK for one, two in pairwise(words)]
    for size in RUNS:
        hashes += [crc32(line[at : at + size]) & _MASK for at in range(len(line) - size + 1)]
    counts = Counter(hashes)
    weights = [_LOGS[count] for count in counts.values()]
    norm = math.sqrt(sum([weight * weight for weight in weights])) or 1.0
    return {each: weight / norm for each, weight in zip(counts, weights, strict=True)}


#: By how often a part occurs. Lower case may make three characters of one, and a character has up
#: to four bytes, each of which begins a run of every length.
_MOST = 12 * SEEN * (len(RUNS) + 1)
_LOGS = [0.0, *(1 + math.log(count) for count in range(1, 256))]
_LOGS += _LOGS[-1:] * (_MOST - 255)
