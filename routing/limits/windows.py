"""The hours, days and months of a time zone, for which budgets count what is spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Span = Literal["hour", "day", "month"]

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time from `start_s` up to `end_s`, in Unix seconds.

    Two windows of the same instants are one window, whatever the zone: they share one book.
    """

    span: Span
    start_s: int
    end_s: int

    @property
    def book(self) -> str:
        """The name of the book that counts what is spent in this window: `fb:spend:<book>`."""
        if self.start_s % _DAY_S == 0 and self.end_s - self.start_s == _DAY_S:
            return f"day:{self.start_s // _DAY_S}"
        return f"from:{self.start_s}:{self.end_s}"


def window(span: Span, at_s: float, zone: str = "UTC") -> Window:
    """Return the hour, day or month of a time zone that a moment falls into."""
    now = datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(zone))
    if span == "hour":
        start = int(at_s) - now.minute * 60 - now.second
        return Window(span, start, start + 3_600)
    first = now.date() if span == "day" else now.date().replace(day=1)
    after = first + timedelta(days=1 if span == "day" else 32)
    if span == "month":
        after = after.replace(day=1)
    return Window(span, _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: str) -> int:
    """Return when a day begins, also where the clock skips midnight."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp())
