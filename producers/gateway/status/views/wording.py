"""How the page writes numbers, money, spans and times: always with a unit."""

from __future__ import annotations

from datetime import UTC, datetime

from forebay.routing.base import NANO
from forebay.routing.overview.percentage import percentage

MIN_CENTS = 10  # dollars from which on two places are enough
LEAST = 0.0001  # dollars that four places can say


def count(number: float) -> str:
    """Return a number of things, such as `12,345`."""
    return f"{number:,.0f}"


def dollars(nusd: float | None, places: int | None = None) -> str:
    """Return an amount of billionths of a dollar as dollars; `no limit` for `None`.

    Args:
        nusd: the amount.
        places: as many decimal places, so that a column is aligned, unless the amount would be
            rounded to nothing; by default as many as tell.
    """
    if nusd is None:
        return "no limit"
    usd = nusd / NANO
    if places is not None and not 0 < usd < 0.1**places:
        return f"${usd:,.{places}f}"
    if 0 < usd < LEAST:
        return f"< ${LEAST}"
    if usd == 0 or usd >= MIN_CENTS:
        return f"${usd:,.2f}"
    return f"${usd:,.2f}" if f"{usd:.4f}".endswith("00") else f"${usd:,.4f}"


def percent(share: float | None) -> str:
    """Return a share as a percentage; a dash if it is not known."""
    if share is None:
        return "-"
    return percentage(share, 0 if 0.1 <= share <= 0.99 or share in {0.0, 1.0} else 1)  # noqa: PLR2004 - a place counts near the ends


def span(seconds: float) -> str:
    """Return a time span, such as `3 ms`, `0.4 s`, `12 s`, `5 min`, `3 h` or `2 d`."""
    if 0 < seconds < 0.1:  # noqa: PLR2004 - below a tenth, seconds with one place say nothing
        return f"{max(1, seconds * 1000):.0f} ms"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - below ten a place counts


def age(now_ms: int, then_ms: int) -> str:
    """Return how long ago something was, such as `5 min ago`."""
    seconds = max(0, now_ms - then_ms) / 1000
    return "just now" if seconds < 1 else f"{span(int(seconds)).replace('.0', '')} ago"


def clock(unix_ms: int) -> str:
    """Return a time of day in UTC, such as `04:31:07 UTC`."""
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%H:%M:%S} UTC"


def moment(unix_ms: int) -> str:
    """Return a date and a time in UTC, such as `2026-11-28 04:31:07 UTC`."""
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(unix_ms: int) -> str:
    """Return a time as machines read it."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


def share(part: float, whole: float) -> float:
    """Return a part of a whole as a percentage from 0 to 100; 0 of nothing."""
    return round(100 * min(1.0, max(0.0, part / whole)), 1) if whole > 0 else 0.0
