"""Stop a block that computes or waits for too long, however busy the machine is.

Wall time says little on a busy machine. The kernel says how long a process computed and how long it
waited for a processor; what is left of the time, nobody did anything for the block.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

LOOK_EVERY_S = 1.0  # what is over sooner is never looked at
WAITED_S = 15.0  # in which neither this process nor a child of it does anything


class Spent(NamedTuple):
    """Seconds for which a process computed, and for which it waited for a processor."""

    computed: float
    delayed: float


class Stopwatch:
    """Adds up what this process and its children spend on one block."""

    def __init__(self, computed_s: float, waited_s: float, spent: Callable[[], dict[int, Spent]]):
        self._limits = computed_s, waited_s
        self._spent = spent
        self._began: float | None = None
        self._first: dict[int, Spent] = {}
        self._last: dict[int, Spent] = {}  # of children that ended, too

    def exceeded(self, now: float) -> str:
        """Look once more; return why the block takes too long, or an empty text."""
        if self._began is None:
            self._began, self._first = now, self._spent()
        self._last |= self._spent()
        pairs = [(self._first.get(pid, Spent(0, 0)), last) for pid, last in self._last.items()]
        computed_s = sum(last.computed - first.computed for first, last in pairs)
        delayed_s = sum(last.delayed - first.delayed for first, last in pairs)
        most_computed_s, most_waited_s = self._limits
        if computed_s > most_computed_s:
            return f"computed for more than {most_computed_s:.0f} s"
        if now - self._began - computed_s - delayed_s > most_waited_s:
            return f"did nothing for more than {most_waited_s:.0f} s"
        return ""


def spent_by_family() -> dict[int, Spent]:
    """Return what this process and its living children have spent since they began."""
    me = psutil.Process()
    spent = {}
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(OSError):  # it has ended by now
            words = Path(f"/proc/{process.pid}/schedstat").read_text().split()
            spent[process.pid] = Spent(int(words[0]) / 1e9, int(words[1]) / 1e9)
    return spent


@contextlib.contextmanager
def within(computed_s: float, stop: type[Exception], waited_s: float = WAITED_S) -> Iterator[None]:
    """Raise `stop` in a block that computes or waits for longer, even in a regular expression."""
    watch = Stopwatch(computed_s, waited_s, spent_by_family)

    def look(*_: Any) -> None:
        if why := watch.exceeded(time.monotonic()):
            raise stop(why)

    before = signal.signal(signal.SIGALRM, look)
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_S, LOOK_EVERY_S)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left_s:  # pytest's own limit of the test
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left_s - time.monotonic() + began))
