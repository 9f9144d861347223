"""Liveness of a worker; `python -m forebay.workers.runtime.liveness` probes it: 0 means well.

A consumer can stop consuming while its process lives, and a worker that waits for Redis is well
all the same. So neither a ping nor Redis decides, but what the worker has seen of itself.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from forebay.routing.errors import ForebayError
from forebay.routing.logs import Event, event, place
from forebay.routing.settings import read
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.settings import ActorSettings

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
LATE_S = 5.0  # a consumer loop that has not come round for so long stands still
STALE_S = 15.0  # age of the heartbeat file; asking a slow Redis for doorbells takes its time


class Liveness:
    """Checks every second whether this worker takes the jobs that it could take.

    1. The consumer's loop must come round: it calls `beat`.
    2. If doorbells wait and a slot is free, one of them must be taken.
    3. If no slot is free, a job must end, or a step be made, within `quiet_s`.
    4. While all hold, or Redis is out of reach, the heartbeat file is written.
    5. If they have not held for `wedged_s`, `wedged` is called with the reason. It is expected to
       close `in_flight`, which ends the checks. So it is if any thread of the process ends by an
       error.

    Args:
        settings: how long is too long, and which file to write.
        in_flight: the jobs that run.
        doorbells: returns how many doorbells wait in the queues of this worker.
        wedged: called when the worker is wedged.
        steps: returns a counter that rises while jobs make progress.
        quiet_s: how long jobs may take without a step, by the limits of the work itself.
    """

    def __init__(
        self,
        settings: ActorSettings,
        in_flight: InFlight,
        doorbells: Callable[[], int],
        wedged: Callable[[str], None],
        steps: Callable[[], int] = lambda: 0,
        quiet_s: float = 0.0,
    ) -> None:
        self._wedged_s = settings.wedged_s
        self._file = settings.heartbeat_file
        self._in_flight = in_flight
        self._doorbells = doorbells
        self._wedged = wedged
        self._steps = steps
        self._quiet_s = quiet_s
        self._taken = 0
        self._unwritten = False
        self._progress = 0
        self._beat_at = self._well_at = self._moved_at = time.monotonic()

    @property
    def well(self) -> bool:
        """True if this worker takes jobs, as far as it knows."""
        return not self._in_flight.closed and time.monotonic() - self._well_at < LATE_S

    def beat(self) -> None:
        """Note that the consumer's loop has come round."""
        self._beat_at = time.monotonic()

    def start(self) -> None:
        """Start the thread that checks; it ends when `in_flight` is closed."""
        # The time before does not count: loading a model may take longer than `wedged_s`.
        self._beat_at = self._well_at = self._moved_at = time.monotonic()
        threading.excepthook = self._thread_ended
        threading.Thread(target=self._run, daemon=True, name="liveness").start()

    def _thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        """Leave, to be restarted: without one of its threads this worker works half.

        Python would print the error, which may hold content.
        """
        name = ended.thread.name if ended.thread else "a thread"
        where = place(ended.exc_value) if ended.exc_value else ""
        self._wedged(f"the thread {name} ended by {ended.exc_type.__name__} at {where}")

    def _run(self) -> None:
        while not self._in_flight.closed:
            self.check()
            time.sleep(INTERVAL_S)

    def check(self) -> None:
        """Check once."""
        fault = self._fault()
        if fault is None:
            self._well_at = time.monotonic()
            self._write()
        elif time.monotonic() - self._well_at > self._wedged_s:
            self._wedged(fault)

    def _fault(self) -> str | None:
        """Return what is wrong with this worker, or `None`."""
        try:
            waiting = self._doorbells()
        except ForebayError:
            self._moved_at = time.monotonic()
            return None  # Redis' fault: Celery tries to reach it again, and so do we
        taken_before, self._taken = self._taken, self._in_flight.doorbells
        if time.monotonic() - self._beat_at > min(LATE_S, self._wedged_s):
            return "the consumer's loop stands still"
        if waiting and self._in_flight.free and taken_before == self._taken:
            return "doorbells wait and none is taken"
        if self._stuck():
            return "no slot is free, and no job makes progress"
        return None

    def _stuck(self) -> bool:
        """Return whether all slots have been busy without progress for longer than `quiet_s`."""
        progress_before, self._progress = self._progress, self._in_flight.ended + self._steps()
        if self._in_flight.free or self._progress != progress_before:
            self._moved_at = time.monotonic()
            return False
        return time.monotonic() - self._moved_at > self._quiet_s

    def _write(self) -> None:
        """Write the time by the machine's monotonic clock: a wall clock may jump."""
        if self._file is None:
            return
        try:
            fresh = self._file.with_name(f"{self._file.name}.new")  # never seen half written
            fresh.write_text(f"{time.monotonic():.3f}\n")
            fresh.replace(self._file)
        except OSError as error:
            if not self._unwritten:  # once, not every second
                reason = error.strerror or type(error).__name__
                log.warning(
                    "cannot write FOREBAY_HEARTBEAT_FILE %s: %s",
                    self._file,
                    reason,
                    extra=event(Event.WORKER_UNSEEN),
                )
            self._unwritten = True
        else:
            self._unwritten = False


def age_s(file: Path) -> float | None:
    """Return the seconds since a worker last wrote its file; `None` if it never did since boot."""
    try:
        age = time.monotonic() - float(file.read_text())
    except (OSError, ValueError):
        return None
    return age if age >= 0 else None


def main() -> int:
    """Print the age of the heartbeat; return 0 if well, 1 if not, 2 if no file is configured."""
    try:
        file = read(ActorSettings).heartbeat_file
    except ForebayError as error:
        sys.stderr.write(f"forebay: {error.code}: {error}\n")
        return 2
    if file is None:
        sys.stderr.write("forebay: misconfigured: FOREBAY_HEARTBEAT_FILE: is not set\n")
        return 2
    age = age_s(file)
    sys.stdout.write("never\n" if age is None else f"{age:.1f} s ago\n")
    return 0 if age is not None and age < STALE_S else 1


if __name__ == "__main__":
    sys.exit(main())
