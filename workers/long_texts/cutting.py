"""Cut a text into pieces of at most so many characters, where it hurts the least."""

from __future__ import annotations

#: Where a piece may end, the best place first.
_ENDS = ("\n\n", "\n", ". ", "。", "! ", "? ", "; ", ", ", " ")

#: The end of a piece is looked for in its last half.
_SEARCHED = 2


def cut(text: str, max_chars: int) -> list[str]:
    """Return the pieces of a text, in order; together they are the text but for white space."""
    pieces, at = [], 0
    while at < len(text):
        end = _end(text, at, max_chars)
        if piece := text[at:end].strip():
            pieces.append(piece)
        at = end
    return pieces


def _end(text: str, start: int, max_chars: int) -> int:
    """Return where the piece that begins at `start` ends."""
    limit = start + max_chars
    if limit >= len(text):
        return len(text)
    earliest = limit - max_chars // _SEARCHED
    for mark in _ENDS:
        found = text.rfind(mark, earliest, limit)
        if found >= 0:
            return found + len(mark)
    return limit
