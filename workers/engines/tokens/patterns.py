"""Relax regular expressions to the part that a grammar can enforce.

Whatever the original matches, a relaxed expression matches as well. Assertions are left out, and a
reference back to a group may be any text that the group may be.
"""

from __future__ import annotations

import re

MAX_CHARS = 2_000  # of a relaxed expression; references to references double its size

#: Python's syntax that Rust's regular expressions lack or read otherwise.
_UNREADABLE = re.compile(r"\\[1-9bBAZ]|\(\?P=|\(\?\(|\(\?>|\[\[|--|&&|~~|\|\|")
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_PARTS = re.compile(
    r"(?P<lookaround>\(\?<?[=!])|\(\?P<(?P<name>\w+)>|\(\?P=(?P<named>\w+)\)|(?P<condition>\(\?\()"
    r"|(?P<atomic>\(\?>)|(?P<plain>\(\?)|(?P<octal>\\[1-3][0-7][0-7])|\\(?P<number>[1-9]\d?)"
    r"|(?P<border>\\[bBAZ])|(?P<escape>\\.)|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<char>.)",
    re.DOTALL,
)
_REPEATS = tuple("*+?{")


def relaxed_pattern(regex: str) -> str | None:
    """Return the regular expression without what a grammar cannot enforce.

    Return `None` if a grammar cannot enforce the rest either.
    """
    try:
        rest = _Relaxation(regex).rest()
    except _Impossible:
        return None
    return None if _UNREADABLE.search(rest) else rest


def unenforced_in_pattern(regex: str) -> str:
    """Return which part of a regular expression a grammar cannot enforce."""
    if _LOOKAROUND.search(regex):
        return "a lookahead or lookbehind"
    if re.search(r"\\[1-9]|\(\?P=", regex):
        return "a backreference"
    return "a word border or a condition" if _UNREADABLE.search(regex) else "a part"


class _Impossible(Exception):  # a signal: nothing of the expression can be enforced
    """The rest of the expression cannot be written without a part that no grammar knows."""


class _Relaxation:
    """Reads an expression part by part, and writes the rest of it.

    A lookaround is dropped with all that it holds; its groups still count.
    """

    def __init__(self, regex: str) -> None:
        self._regex = regex
        self._rest: list[str] = []
        self._open: list[tuple[tuple[str, ...], int]] = []  # keys of a group, where it begins
        self._groups: dict[str, str] = {}
        self._count = 0
        self._dropped = 0  # brackets that are open in the lookaround that is dropped

    def rest(self) -> str:
        """Return what is left.

        Raises:
            _Impossible: The expression has a condition, or refers to what was dropped.
        """
        after_dropped = False
        for part in _PARTS.finditer(self._regex):
            if after_dropped and part[0].startswith(_REPEATS):
                raise _Impossible
            before = len(self._rest)
            self._read(part)
            after_dropped = not self._dropped and len(self._rest) == before
            if sum(map(len, self._rest[before:])) > MAX_CHARS:
                raise _Impossible
        rest = "".join(self._rest)
        if self._dropped or len(rest) > MAX_CHARS:
            raise _Impossible
        return rest

    def _read(self, part: re.Match[str]) -> None:
        text = part[0]
        if part["condition"] or part["octal"]:
            raise _Impossible
        if text.startswith("(") and not part["named"]:
            self._begin(part)
        elif text == ")":
            self._end()
        elif self._dropped or part["border"]:
            return
        elif key := part["number"] or part["named"]:
            self._rest.append(self._referenced(key))
        else:
            self._rest.append(text)

    def _begin(self, part: re.Match[str]) -> None:
        """Begin a group, or a lookaround."""
        is_group = part[0] == "(" or part["name"] is not None
        self._count += is_group
        if self._dropped or part["lookaround"]:
            self._dropped += 1
            return
        keys = (str(self._count), part["name"] or "") if is_group else ()
        self._rest.append("(?:" if part["atomic"] else part[0])
        self._open.append((keys, len(self._rest)))

    def _end(self) -> None:
        if self._dropped:
            self._dropped -= 1
            return
        if not self._open:
            raise _Impossible
        keys, start = self._open.pop()
        self._groups |= dict.fromkeys(keys, "".join(self._rest[start:]))
        self._rest.append(")")

    def _referenced(self, key: str) -> str:
        """Return an expression for any text that a group may be."""
        if key not in self._groups:
            raise _Impossible
        body = self._groups[key]
        if len(body) > MAX_CHARS:
            raise _Impossible
        return f"(?:{body})"
