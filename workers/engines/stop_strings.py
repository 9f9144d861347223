"""Finds the stop string that ends a text: few models and services say which it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class StopStrings:
    """Looks for the first of some strings in a text that comes in pieces.

    Attributes:
        stops: the strings.
        text: the text so far.
        safe: so many characters of it can be given out, because no stop string begins there.
        found: the stop string that ends the text, if it has come.
    """

    stops: Sequence[str] = ()
    text: str = field(default="", repr=False)
    safe: int = 0
    found: str | None = None

    def feed(self, piece: str) -> None:
        """Take the next piece of the text."""
        self.text += piece
        starts = ((self.text.find(stop, self.safe), stop) for stop in self.stops if stop)
        first = min(((at, stop) for at, stop in starts if at >= 0), default=None)
        if first is not None:
            self.safe, self.found = first
        else:
            self.safe = len(self.text) - max(map(self._begun, self.stops), default=0)

    def _begun(self, stop: str) -> int:
        """Return how many characters of a stop string the text ends with."""
        longest = range(min(len(stop) - 1, len(self.text)), 0, -1)
        return next((count for count in longest if self.text.endswith(stop[:count])), 0)


def before_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Return a whole text up to its first stop string, and that string if there is one."""
    ending = StopStrings(stops)
    ending.feed(text)
    return (text, None) if ending.found is None else (text[: ending.safe], ending.found)
