"""How a share is written for people."""

from __future__ import annotations


def percentage(share: float, places: int = 0) -> str:
    """Return a share as a percentage that says 0 or 100 only of nothing and of the whole.

    `99.97%` with one place is `> 99.9%`: rounded to 100 it would say that nothing is left.

    Args:
        share: from 0 to 1; other numbers are written as they are.
        places: decimal places.
    """
    least = 0.01 / 10**places
    shown, nothing, whole = (f"{number:.{places}%}" for number in (share, 0.0, 1.0))
    if share > 0 and shown == nothing:
        return f"< {least:.{places}%}"
    if share < 1 and shown == whole:
        return f"> {1 - least:.{places}%}"
    return shown
