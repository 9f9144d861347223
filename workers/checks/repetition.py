"""Finds loops and copies: a small model that has nothing to say repeats itself, or its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

MIN_ROUNDS = 4  # so often in a row, the same words are no emphasis any more
MAX_ROUND_WORDS = 24  # words of one round
MIN_WORDS = 8  # words in all rounds; people do write "no, no, no, no"
MIN_NUMBERS = 80  # numbers in all rounds; a table may well hold fewer equal ones
LONG_WORD_CHARS = 60  # people write no such word, but it may be a link: look inside
MIN_NEW_GROUPS = 0.4  # share of different groups of four words, in texts of MIN_GROUPS or more
MIN_GROUPS = 40
MIN_WORDS_TO_COMPARE = 6  # fewer words say nothing about copying
MAX_WORDS_TO_COMPARE = 200  # of each text; the comparison takes more than the square of them
MIN_COPIED_WORDS = 0.8  # share of words, in order, from which a text is a copy

MIN_UNSPACED_CHARS = 24  # in all rounds of a text without spaces, as in Chinese and Japanese
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
_LIST_MARK = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[-*\u2022])[ \t]+", re.MULTILINE)


def repeats_itself(text: str) -> bool:
    """Return whether the text repeats itself as no writer would: in a row, or most of the time."""
    text = _LIST_MARK.sub("", text.casefold())
    words = [word for word in text.split() if any(char.isalnum() for char in word)]
    return (
        _has_rounds(words, MIN_WORDS)
        or _is_mostly_repeated(words)
        or any(_has_rounds(word, LONG_WORD_CHARS) for word in words if len(word) > LONG_WORD_CHARS)
        or _has_rounds(_UNSPACED.findall(text), MIN_UNSPACED_CHARS)
    )


def _has_rounds(items: Sequence[str], min_items: int) -> bool:
    """Return whether a sequence stands `MIN_ROUNDS` times in a row, over at least `min_items`.

    Numbers alone must stand there for longer.
    """
    longest = len(items) // MIN_ROUNDS if len(items) >= min_items else 0
    for size in range(1, min(MAX_ROUND_WORDS, longest) + 1):
        needed = max(size * (MIN_ROUNDS - 1), min_items - size)
        run = letters = 0  # items of the run, and those of them that are no number
        for item, later in zip(items, items[size:], strict=False):
            run, letters = (run + 1, letters + (not item.isdecimal())) if item == later else (0, 0)
            if run >= needed and (letters or run >= MIN_NUMBERS):
                return True
    return False


def _is_mostly_repeated(words: Sequence[str]) -> bool:
    groups = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return len(groups) >= MIN_GROUPS and len(set(groups)) < MIN_NEW_GROUPS * len(groups)


def copies_beginning(text_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Return whether an answer is the beginning of a longer text, but for a few words."""
    size = len(answer_words)
    if min(size, len(text_words) - size) < MIN_WORDS_TO_COMPARE:
        return False
    size = min(size, MAX_WORDS_TO_COMPARE)
    alike = SequenceMatcher(None, answer_words[:size], text_words[:size], autojunk=False).ratio()
    return alike >= MIN_COPIED_WORDS
