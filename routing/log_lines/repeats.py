"""Lines that a loop repeats while something is away: the first is written, then one a minute."""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from forebay.routing.logs import Event

REPEAT_S = 60.0  # between two lines about one fault
MAX_FAULTS = 200  # faults of which it is remembered when they were told last

#: Events of what is tried again until it succeeds. The last argument of their lines is the fault.
TRIED_AGAIN = frozenset(
    {
        Event.CLAIM_FAILED, Event.LEASE_UNRENEWED, Event.SWEEP_FAILED, Event.WORKER_UNLOADED,
        Event.WORKER_UNSEEN, Event.QUEUE_GARBAGE, Event.REDIS_FULL, Event.REDIS_AWAY,
        Event.PACING_AWAY, Event.CACHE_AWAY, Event.EVENTS_LOST, Event.METRICS_AWAY,
        Event.HISTORY_AWAY, Event.BEDROCK_BATCH_AWAY, Event.ENGINE_DOWN, Event.DECISIONS_DOWN,
    }
)  # fmt: skip


class _Told(NamedTuple):
    """When a fault was told last, and how many lines about it were left out since."""

    at: float
    clock: str
    left_out: int


class Repeats(logging.Filter):
    """Lets the first line about a fault pass, and then one a minute, with how many were left out.

    A fault is an event and what went wrong, whoever tells it: a worker that may not log in to Redis
    says so once, and not for each heartbeat. A line about one job or batch always passes, unless it
    says that the job's outcome is not recorded yet. Libraries repeat themselves too (Celery, while
    it connects again): of their warnings, only lines of the same text are repeats.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, str], _Told] = {}
        self._changing = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; add to its message how many were left out."""
        if record.levelno < logging.WARNING or (fault := _fault(record)) is None:
            return True
        with self._changing:
            before = self._told.get(fault)
            if before is not None and time.monotonic() - before.at < REPEAT_S:
                self._told[fault] = before._replace(left_out=before.left_out + 1)
                return False
            self._tell(fault)
        if before is not None and before.left_out:
            more = f"{record.getMessage()} ({before.left_out} more since {before.clock} UTC)"
            record.msg, record.args = more, None
        return True

    def _tell(self, fault: tuple[str, str]) -> None:
        self._told.pop(fault, None)
        if len(self._told) >= MAX_FAULTS:
            del self._told[next(iter(self._told))]  # the one that was told the longest ago
        self._told[fault] = _Told(
            time.monotonic(), time.strftime("%H:%M:%S", time.gmtime()), left_out=0
        )


def _fault(record: logging.LogRecord) -> tuple[str, str] | None:
    """Return what a line tells if that may be told again and again; `None` for other lines."""
    name = getattr(record, "event", Event.LIBRARY.value)
    if name == Event.LIBRARY.value:
        return record.name, record.getMessage()
    about_one = getattr(record, "fields", {}).keys() & {"job", "batch"}
    if name != Event.JOB_UNRECORDED.value and (about_one or name not in TRIED_AGAIN):
        return None
    args = record.args
    return name, str(args[-1] if isinstance(args, tuple) and args else record.msg)
