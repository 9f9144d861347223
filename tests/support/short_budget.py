"""A smaller budget for calls that are stopped, so that their tests wait less.

That a call is stopped at its budget does not depend on how large the budget is.
"""

from forebay.workers.checks import bounded
from forebay.workers.isolation import pool

SHORT_S = 0.4  # more than a hundred times what a good check takes


def shorten(monkeypatch):
    """Give isolated calls `SHORT_S`, for the rest of a test."""
    monkeypatch.setattr(pool, "WALL_S", SHORT_S)
    monkeypatch.setattr(bounded, "WALL_S", SHORT_S)
