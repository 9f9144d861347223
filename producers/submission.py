"""The way in for jobs: what Redis cannot take now is offered again, as long as the caller waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count

from redis.backoff import EqualJitterBackoff

from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.jobs import Job
from forebay.routing.ledger.ledger import Ledger

SHORTEST_S, LONGEST_S = 0.1, 2.0  # pauses: doubling, with jitter


class PatientSubmitter:
    """Puts jobs on with patience, in seconds; with none, a refusal is an error at once.

    A job keeps its id, so one that had been taken in, with only the reply lost, is not taken twice.
    """

    def __init__(self, ledger: Ledger, patience: float = 0.0) -> None:
        self._ledger = ledger
        self._patience = patience
        self._pauses = EqualJitterBackoff(cap=LONGEST_S, base=SHORTEST_S)

    def create(self, jobs: Sequence[Job], watcher: str = "") -> list[str | ForebayError]:
        """For each job its id, or why not; see `Ledger.create`.

        Raises:
            Unavailable: Redis could not be reached at the last try, which is not cut short.
        """
        end = time.monotonic() + self._patience
        made: dict[str, str | ForebayError] = {}
        left = list(jobs)
        for tries in count(1):
            wait_s = min(self._pauses.compute(tries), end - time.monotonic())
            try:
                made |= zip(
                    (job.id for job in left), self._ledger.create(left, watcher), strict=True
                )
            except Unavailable:
                if wait_s <= 0:
                    raise
            else:
                left = [job for job in left if isinstance(made[job.id], Unavailable)]
            if not left or wait_s <= 0:
                break
            time.sleep(wait_s)
        return [made[job.id] for job in jobs]
