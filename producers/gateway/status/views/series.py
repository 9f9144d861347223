"""The lines of the charts: what was answered, what waited and what was spent over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.books.job_history import Minute

#: Minutes that a chart shows, and that one of its points adds up, by the name of the range.
RANGES = {"1h": (60, 1), "6h": (360, 3), "24h": (1440, 10)}
DEFAULT_RANGE = "1h"
LEAST_POINTS = 10


def series(minutes: Sequence[Minute], step: int) -> dict[str, Any]:
    """Return the points of all charts; a value that is not known is `None`.

    The charts begin where history begins, with at least ten points: those of a young fleet are no
    empty planes.

    Args:
        minutes: the oldest first.
        step: minutes that one point adds up.
    """
    groups = _since_history(list(_groups(minutes, step)))
    return {
        "time": [group[0].start for group in groups],
        "local": [_rate(group, "local") for group in groups],
        "bedrock": [_rate(group, "bedrock") for group in groups],
        "failed": [_rate(group, "failed") for group in groups],
        "waiting": [_waiting(group) for group in groups],
        "spent": [_spent(group) for group in groups],
        "known": any(map(_known, groups)),
    }


def _groups(minutes: Sequence[Minute], step: int) -> Iterator[Sequence[Minute]]:
    for start in range(0, len(minutes), step):
        yield minutes[start : start + step]


def _since_history(groups: list[Sequence[Minute]]) -> list[Sequence[Minute]]:
    """Leave out what lies before the first group of which something is known."""
    first = next((at for at, group in enumerate(groups) if _known(group)), 0)
    return groups[max(0, min(first, len(groups) - LEAST_POINTS)) :]


def _known(group: Sequence[Minute]) -> bool:
    return any(minute.waiting is not None or minute.counts for minute in group)


def _seen(group: Sequence[Minute]) -> list[Minute]:
    """Return the minutes in which a sweeper looked."""
    return [minute for minute in group if minute.waiting is not None]


def _rate(group: Sequence[Minute], name: str) -> float | None:
    """Return how many jobs ended so in a minute."""
    if not _known(group):
        return None
    return round(sum(minute.counts.get(name, 0) for minute in group) / len(group), 2)


def _waiting(group: Sequence[Minute]) -> int | None:
    """Return how many jobs waited at most."""
    return max((sum((minute.waiting or {}).values()) for minute in _seen(group)), default=None)


def _spent(group: Sequence[Minute]) -> float | None:
    """Return the dollars of the day until then."""
    seen = _seen(group)
    return seen[-1].spent_nusd / NANO if seen else None
