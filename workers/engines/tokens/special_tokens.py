"""Special tokens (control tokens) in a caller's text: broken up, so that they are plain text.

A special token begins or ends a turn of the prompt. A caller's text that holds one as text must not
do that (prompt injection).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A character without width. The model can still read a special token that holds it.
_BREAK = "\u200b"


class SpecialTokens:
    """The special tokens of one model, as texts and as shapes that tokens of its kind have."""

    def __init__(self, texts: Iterable[str], shapes: Iterable[tuple[str, str]] = ()) -> None:
        """Take the texts, and regular expressions for the first character and the rest of others.

        Shapes are for a model whose tokens cannot be read. A part matches a bounded text.
        """
        longest_first, shapes = sorted(filter(None, texts), key=len, reverse=True), list(shapes)
        self._whole = _any_of(longest_first, [first + rest for first, rest in shapes])
        broken = [_broken(text) for text in longest_first]
        self._broken = _any_of(broken, [first + _BREAK + rest for first, rest in shapes])

    def disarmed(self, text: str) -> str:
        """Return a caller's text with its special tokens broken up."""
        return self._whole.sub(lambda token: _broken(token[0]), text)

    def restored(self, text: str) -> str:
        """Return a model's text with the special tokens whole again that it copied broken up."""
        return self._broken.sub(lambda token: token[0].replace(_BREAK, "", 1), text)


def _broken(token: str) -> str:
    return f"{token[:1]}{_BREAK}{token[1:]}"


def _any_of(texts: list[str], patterns: list[str]) -> re.Pattern[str]:
    """Return a pattern for each of these texts, the earlier first; it never matches if none."""
    return re.compile("|".join([*map(re.escape, texts), *patterns]) or r"(?!)")
