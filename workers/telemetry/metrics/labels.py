"""Values of labels, so few that a metric cannot grow without bound."""

from __future__ import annotations

from functools import lru_cache

from forebay.routing.errors import gist
from forebay.routing.reasons import meaning

OTHER = "other"
MAX_MODELS = 50
#: Codes of failures that are no error class of their own.
_MORE_CODES = frozenset({"internal", "failed", "paused"})


class Capped:
    """Keeps the first values that it sees; every later one is `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value to use as a label."""
        if value not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(value)
        return value


def code_label(code: str | None) -> str:
    """Return the label of an error's code; empty for none."""
    if not code:
        return ""
    return code if code in _MORE_CODES or gist(code) else OTHER


@lru_cache(maxsize=1024)  # most jobs have one of a few reasons
def reason_label(reasons: str) -> str:
    """Return the label of the first of some reason codes, without what follows its colon."""
    code = reasons.partition(",")[0].partition(":")[0]
    return code if not code or meaning(code) else OTHER


def largest(values: dict[str, float], limit: int) -> dict[str, float]:
    """Return the largest values under their own names, and the sum of the rest as `other`."""
    ranked = sorted(values.items(), key=lambda item: -item[1])
    rest = sum(value for _, value in ranked[limit:])
    return dict(ranked[:limit]) | ({OTHER: rest} if len(ranked) > limit else {})
