"""A small model that has nothing more to say goes round in circles. This finds the circles."""

from __future__ import annotations

from collections.abc import Sequence

ROUNDS = 4  # the same words so often in a row, and it is no emphasis any more
MAX_ROUND_WORDS = 24  # words of one round
MIN_WORDS = 8  # words in all; "no, no, no, no" is something that people write
LONG_WORD = 60  # characters; nothing that people write, but maybe a link: look inside
NEW = 0.4  # of all groups of four words, so many must be new where there are many


def repeats_itself(text: str) -> bool:
    """Whether the text repeats itself as no writer would: in a row, or most of the time."""
    spoken = [word for word in text.casefold().split() if any(char.isalnum() for char in word)]
    return (
        _round(spoken, MIN_WORDS)
        or _mostly_old(spoken)
        or any(_round(word, LONG_WORD) for word in spoken if len(word) > LONG_WORD)
    )


def _round(items: Sequence[str], fewest: int) -> bool:
    """Whether some sequence stands `ROUNDS` times in a row, over at least `fewest` items."""
    for size in range(1, MAX_ROUND_WORDS + 1):
        needed = max(size * (ROUNDS - 1), fewest - size)
        run = 0
        for one, later in zip(items, items[size:], strict=False):
            run = run + 1 if one == later else 0
            if run >= needed:
                return True
    return False


def _mostly_old(spoken: Sequence[str]) -> bool:
    many = 40
    groups = list(zip(spoken, spoken[1:], spoken[2:], spoken[3:], strict=False))
    return len(groups) >= many and len(set(groups)) < NEW * len(groups)
