"""The gate: one thread claims from a queue at a time, as many jobs as the worker soon ends.

A worker whose jobs take milliseconds spends more time on claims, and on switches between its
threads, than on the jobs. So one thread claims and works several. Jobs that take longer are claimed
one by one, by as many threads as there are, so that other workers get their share.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.workers.runtime.claims.in_flight import SOON_S, InFlight
from forebay.workers.runtime.claims.right_of_way import right_of_way

AHEAD_S = 0.1  # a worker claims at once what it ends in this time
CLOSED_S = 0.5  # how late a thread at the gate notices that the worker drains


class ClaimGate:
    """Lets one thread at a time claim jobs of a queue, and tells how many.

    Args:
        in_flight: the jobs that run, and how long jobs take.
        most: jobs that are claimed at once.
    """

    def __init__(self, in_flight: InFlight, most: int) -> None:
        self._in_flight, self._most = in_flight, most
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def turn(self, queue: str) -> Iterator[int]:
        """Wait for room, and let this thread claim in the block; tell how many jobs at most.

        The jobs are to be held (`InFlight.holding`) before the block ends. None may be claimed if
        the worker drains.
        """
        with self._turns[queue]:
            most = self._soon_ended()
            right_of_way.give_way()
            yield min(most, self._room(most))

    def _room(self, most: int) -> int:
        """Wait until there is room for a job; return for how many.

        If there is room for few of the jobs that are quick, more is there in a moment.
        """
        in_flight = self._in_flight
        if few := min(most, in_flight.slots) // 4:
            in_flight.room(few, SOON_S)
        while not (in_flight.closed or in_flight.drained):
            if room := in_flight.room(1, CLOSED_S):
                return room
        return 0

    def _soon_ended(self) -> int:
        """Return how many jobs the worker ends in `AHEAD_S`, as its last jobs suggest."""
        a_job_s = self._in_flight.s_between_ends
        return max(1, min(self._most, int(AHEAD_S / a_job_s))) if a_job_s else 1
