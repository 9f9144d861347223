"""Find the end of a prompt that must be tokenized again together with a text that follows it.

A tokenizer may join characters across the border between a prompt and a label, so both must be
tokenized together. But a tokenizer first takes special tokens out of a text, and text after a
special token never meets text before it. So the last special token and the text after it are
enough; in a chat these are the few characters that open the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_SEARCHED_CHARS = 512  # at the end of a prompt, where a special token is looked for


class PromptTails:
    """Finds the tails of prompts for one tokenizer (an object of the package `tokenizers`)."""

    def __init__(self, tokenizer: Any) -> None:
        added = list(tokenizer.get_added_tokens_decoder().values())
        # Normalized tokens are looked for after the normalizer changed the whole text.
        raw = [token for token in added if tokenizer.normalizer is None or not token.normalized]
        self._added = [token.content for token in added]
        # A token that must be a single word depends on the text before it.
        self._borders = any_of(token.content for token in raw if not token.single_word)
        self._is_border = lru_cache(maxsize=64)(self._never_overlaps)

    def of(self, text: str) -> str:
        """Return the text from its last special token on, or the whole text if there is none.

        For any continuation: the tokens of text and continuation are the tokens of the text before
        the tail, then the tokens of the tail and the continuation.
        """
        window = max(0, len(text) - _SEARCHED_CHARS)
        starts = [
            border.start()
            for border in self._borders.finditer(text, window)
            if self._is_border(border[0])
        ]
        return text[starts[-1] :] if starts else text

    def _never_overlaps(self, token: str) -> bool:
        """Return whether no other added token holds this token or ends with its beginning."""
        beginnings = tuple(token[:size] for size in range(1, len(token)))
        return not any(
            (token in other and other != token) or other.endswith(beginnings)
            for other in self._added
        )


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches each of these texts, the longest first; or never, if none."""
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
