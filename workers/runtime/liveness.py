"""Is this worker well? `python -m forebay.workers.runtime.liveness` asks from outside: exit code 0 for yes.

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
from forebay.routing.settings import read
from forebay.workers.runtime.in_flight import InFlight
from forebay.workers.runtime.settings import ActorSettings

log = logging.getLogger(__name__)

EVERY_S = 1.0
LATE_S = 5.0  # a loop that has not come round for so long stands still
STALE_S = 15.0  # of the file; a look at a Redis that is slow takes its time


class Liveness:
    """Looks every second whether this worker takes what there is to take.

    1. The consumer's loop must come round: `beat` is called from within it.
    2. Where doorbells hang and a hand is free, one must be taken.
    3. As long as both hold, or Redis is out of reach, the heartbeat file is written.
    4. Where they have not held for `wedged_s`, `wedged` is called with the reason; it is expected
       to close the hands, which ends the looking.

    Args:
        settings: how long is too long, and which file.
        hands: what is in hand.
        hanging: how many doorbells hang in the queues of this worker.
        wedged: see above.
    """

    def __init__(
        self,
        settings: ActorSettings,
        hands: InFlight,
        hanging: Callable[[], int],
        wedged: Callable[[str], None],
    ) -> None:
        self._wedged_s = settings.wedged_s
        self._file = settings.heartbeat_file
        self._hands = hands
        self._hanging = hanging
        self._wedged = wedged
        self._answered = 0
        self._beat_at = self._well_at = time.monotonic()

    @property
    def well(self) -> bool:
        """Whether this worker takes jobs, as far as it knows."""
        return not self._hands.closed and time.monotonic() - self._well_at < LATE_S

    def beat(self) -> None:
        """The consumer's loop has come round."""
        self._beat_at = time.monotonic()

    def start(self) -> None:
        """Begin to look; ends when the hands are closed."""
        # Not from when it was made: loading a model may take longer than a wedge is given.
        self._beat_at = self._well_at = time.monotonic()
        threading.Thread(target=self._run, daemon=True, name="liveness").start()

    def _run(self) -> None:
        while not self._hands.closed:
            self.look()
            time.sleep(EVERY_S)

    def look(self) -> None:
        """Look once."""
        fault = self._fault()
        if fault is None:
            self._well_at = time.monotonic()
            self._write()
        elif time.monotonic() - self._well_at > self._wedged_s:
            self._wedged(fault)

    def _fault(self) -> str | None:
        try:
            hanging = self._hanging()
        except ForebayError:
            return None  # Redis' fault: Celery tries to reach it again, and so do we
        answered, self._answered = self._answered, self._hands.answered
        if time.monotonic() - self._beat_at > min(LATE_S, self._wedged_s):
            return "the consumer's loop stands still"
        if hanging and self._hands.free and answered == self._answered:
            return "doorbells hang and none is taken"
        return None

    def _write(self) -> None:
        """The machine's monotonic clock: a wall clock may jump."""
        if self._file is None:
            return
        try:
            fresh = self._file.with_name(f"{self._file.name}.new")  # never seen half written
            fresh.write_text(f"{time.monotonic():.3f}\n")
            fresh.replace(self._file)
        except OSError as error:
            log.warning("cannot write the heartbeat: %s", type(error).__name__)


def age_s(file: Path) -> float | None:
    """Seconds since a worker last wrote that it is well; none where it never did, since boot."""
    try:
        age = time.monotonic() - float(file.read_text())
    except (OSError, ValueError):
        return None
    return age if age >= 0 else None


def main() -> int:
    """Exit code: 0 well, 1 not well, 2 nothing is configured to be asked."""
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
