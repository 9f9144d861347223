"""What one sweep of the ledger did."""

from __future__ import annotations

from typing import NamedTuple


class Swept(NamedTuple):
    """What one sweep did.

    Attributes:
        back: jobs given back because their lease had run out.
        dead: jobs ended because no attempts were left, or because their record is damaged.
        due: jobs queued again because their retry time had come.
        expired: jobs ended because their deadline had passed.
        rung: doorbells rung.
        full: percentage of memory in use, if new jobs are refused because of it; otherwise 0.
        moved: the ids of the jobs that were given back, are dead, have expired or were cancelled
            while they waited.
    """

    back: int
    dead: int
    due: int
    expired: int
    rung: int
    full: int
    moved: tuple[str, ...] = ()
