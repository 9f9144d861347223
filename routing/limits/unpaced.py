"""Jobs that have no pace: counted in the process, so that the controller hears of many at once."""

from __future__ import annotations

import threading
import time

MAX_GROUPS = 10_000  # tenants times kinds times stages that are counted apart

#: The jobs of a tenant, of one kind and at one stage.
Group = tuple[str, str, str]


class UnpacedJobs:
    """Counts the jobs of groups for which the controller had neither a target nor an override.

    It is asked about such a group again after `every_s` seconds. Safe to share between threads.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._jobs: dict[Group, int] = {}  # that were left out since it was asked
        self._until: dict[Group, float] = {}  # when it is to be asked again

    def leave_out(self, group: Group) -> bool:
        """Return whether the controller need not be asked about a job, which is counted then."""
        with self._lock:
            if time.monotonic() >= self._until.get(group, 0.0):
                return False
            self._jobs[group] = self._jobs.get(group, 0) + 1
            return True

    def take(self, group: Group) -> int:
        """Return for how many jobs a question stands: its own, and those that were left out."""
        with self._lock:
            return self._jobs.pop(group, 0) + 1

    def rest(self, group: Group) -> None:
        """Note that the controller has neither a target nor an override for a group."""
        with self._lock:
            if len(self._until) >= MAX_GROUPS:
                self._until.clear()
                self._jobs.clear()
            self._until[group] = time.monotonic() + self._every_s
