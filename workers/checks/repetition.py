"""Finds loops: a small model that has nothing more to say repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

MIN_ROUNDS = 4  # so often in a row, the same words are no emphasis any more
MAX_ROUND_WORDS = 24  # words of one round
MIN_WORDS = 8  # words in all rounds; people do write "no, no, no, no"
LONG_WORD_CHARS = 60  # people write no such word, but it may be a link: look inside
MIN_NEW_GROUPS = 0.4  # share of different groups of four words, in texts of MIN_GROUPS or more
MIN_GROUPS = 40


def repeats_itself(text: str) -> bool:
    """Return whether the text repeats itself as no writer would: in a row, or most of the time."""
    words = [word for word in text.casefold().split() if any(char.isalnum() for char in word)]
    return (
        _has_rounds(words, MIN_WORDS)
        or _is_mostly_repeated(words)
        or any(_has_rounds(word, LONG_WORD_CHARS) for word in words if len(word) > LONG_WORD_CHARS)
    )


def _has_rounds(items: Sequence[str], min_items: int) -> bool:
    """Return whether a sequence stands `MIN_ROUNDS` times in a row, over at least `min_items`."""
    for size in range(1, MAX_ROUND_WORDS + 1):
        needed = max(size * (MIN_ROUNDS - 1), min_items - size)
        run = 0
        for item, later in zip(items, items[size:], strict=False):
            run = run + 1 if item == later else 0
            if run >= needed:
                return True
    return False


def _is_mostly_repeated(words: Sequence[str]) -> bool:
    groups = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return len(groups) >= MIN_GROUPS and len(set(groups)) < MIN_NEW_GROUPS * len(groups)
