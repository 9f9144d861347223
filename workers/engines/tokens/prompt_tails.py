"""Where a prompt can be parted so that its end is cut into tokens by itself.

To know a label's tokens where it follows a prompt, both have to be cut together: a tokenizer may
join characters across the border. But it takes special tokens out of a text before anything else,
and what stands behind one never meets what stands before it. So the last special token and what
follows it are enough; in a chat these are a few characters that open the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_LAST = 512  # characters of a prompt among which a special token is looked for


class Tails:
    """Parts prompts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        added = list(tokenizer.get_added_tokens_decoder().values())
        # Others are looked for in a text that was changed before, as a whole.
        raw = [one for one in added if tokenizer.normalizer is None or not one.normalized]
        self._all = [one.content for one in added]
        # One that must be a word heeds what stands before it.
        self._marks = any_of(one.content for one in raw if not one.single_word)
        self._apart = lru_cache(maxsize=64)(self._stands_apart)

    def of(self, text: str) -> str:
        """The end of the text, from its last special token on; the whole where there is none.

        Whatever follows, the tokens of text and what follows are those of the text before the end,
        then those of the end and what follows.
        """
        window = max(0, len(text) - _LAST)
        starts = [
            mark.start() for mark in self._marks.finditer(text, window) if self._apart(mark[0])
        ]
        return text[starts[-1] :] if starts else text

    def _stands_apart(self, mark: str) -> bool:
        """Whether it is found wherever it stands, because no token holds or overlaps it."""
        beginnings = tuple(mark[:size] for size in range(1, len(mark)))
        return not any(
            (mark in one and one != mark) or one.endswith(beginnings) for one in self._all
        )


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches each of these texts, the longest first, and nothing where there are none."""
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
