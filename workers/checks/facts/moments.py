"""The dates and times of a text."""

from __future__ import annotations

import re
from functools import cached_property

from forebay.workers.checks.reading.dates import (
    WEEKDAYS,
    Date,
    Time,
    blanked,
    dates,
    days_of_unknown_months,
    months,
    possible_times,
    times,
    without_zones,
)
from forebay.workers.checks.reading.derived import moved, moved_times, quantities
from forebay.workers.checks.reading.words import words

_POINT_TIME = re.compile(r"([01]?\d|2[0-3])\.([0-5]\d)")  # `20.15` for a quarter past eight


class Moments:
    """The dates and times of a text. Each index of them is built once, when first needed."""

    def __init__(self, text: str) -> None:
        """Take a normalized text."""
        self._text = text

    @cached_property
    def dates(self) -> frozenset[Date]:
        """All that the dates of the text may mean."""
        return frozenset().union(*(meanings for _, meanings in dates(self._text)))

    @cached_property
    def times(self) -> frozenset[Time]:
        """All that the times of the text may mean."""
        written = (meanings for _, meanings in times(self._text))
        return frozenset(possible_times(self._text)).union(*written)

    @cached_property
    def months(self) -> frozenset[tuple[int, int]]:
        """The years and months of the text, of whole dates too."""
        return frozenset({(year, month) for year, month, _ in self.dates if year}).union(
            months(self._text)
        )

    def without_moments(self, text: str) -> tuple[str, bool]:
        """Return another text without its dates and times, and whether this text has them all."""
        days = list(dates(text))
        if not all(any(map(self._has_date, meanings)) for _, meanings in days):
            return text, False
        text = blanked(text, [span for span, _ in days])
        hours = list(times(text))
        if not all(any(map(self._has_time, meanings)) for _, meanings in hours):
            return text, False
        return blanked(text, [span for span, _ in hours]), True

    def _has_time(self, time: Time) -> bool:
        return time in self.times or time in self._moved_times

    @cached_property
    def _moved_times(self) -> frozenset[Time]:
        return moved_times(self.times, quantities(self._text))

    def has(self, value: str) -> bool | None:
        """Return whether a date or time occurs; `None` if the value is none."""
        bare = without_zones(re.sub(r"(?<=\d)[Tt](?=\d)", " ", value))
        spans = [span for span, _ in (*dates(bare), *times(bare))]
        if not spans or set(words(blanked(bare, spans))) - WEEKDAYS:
            return True if self._has_point_time(value) else None
        return self.without_moments(bare)[1]

    def _has_point_time(self, value: str) -> bool:
        match = _POINT_TIME.fullmatch(value.strip())
        return match is not None and (int(match[1]), int(match[2]), 0) in self.times

    def _has_date(self, date: Date) -> bool:
        year, month, day = date
        years = self._years_of_days.get((month, day), set())
        is_given = bool(years) and (year is None or year in years or None in years)
        return is_given or (year, day) in self._days_of_unknown_months or date in self._moved_dates

    @cached_property
    def _moved_dates(self) -> frozenset[Date]:
        return moved(self.dates, quantities(self._text))

    @cached_property
    def _years_of_days(self) -> dict[tuple[int, int], set[int | None]]:
        """The years in which the text has a day, by month and day; `None` for no year."""
        by_day: dict[tuple[int, int], set[int | None]] = {}
        for year, month, day in self.dates:
            by_day.setdefault((month, day), set()).add(year)
        return by_day

    @cached_property
    def _days_of_unknown_months(self) -> frozenset[tuple[int | None, int]]:
        return frozenset(days_of_unknown_months(self._text))
