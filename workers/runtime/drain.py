"""Leaving in order: what runs is finished or given back, and then the process ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

from forebay.routing.errors import ForebayError, Lost
from forebay.routing.ledger.ledger import Ledger
from forebay.workers.runtime.in_flight import InFlight

log = logging.getLogger(__name__)

DRAINED = 0
WEDGED = 75  # of sysexits.h, EX_TEMPFAIL: start me again
CLOSE_S = 10.0  # for Celery and the engine to end by themselves once nothing is in hand


class Drain:
    """The way out of a worker.

    1. Takes no more jobs from the moment it is asked; says goodbye to the fleet.
    2. Gives what runs `grace_s` to finish.
    3. Gives the rest back, not counted as an attempt: another worker has it within a second.
    4. Ends the process, whatever hangs. What could not be given back is found by its lease.

    Args:
        ledger: over a client that does not wait long.
        hands: what is in hand.
        grace_s: see above.
        goodbye: called once, first.
    """

    def __init__(
        self, ledger: Ledger, hands: InFlight, grace_s: float, goodbye: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._hands = hands
        self._grace_s = grace_s
        self._goodbye = goodbye
        self._asked: SimpleQueue[int] = SimpleQueue()

    def start(self) -> None:
        """Be ready to be asked. The thread is there before it is needed: handlers start none."""
        threading.Thread(target=self._run, daemon=True, name="drain").start()

    def begin(self, exit_code: int = DRAINED) -> None:
        """Leave, at last with this exit code. Takes no lock: signal handlers may call it."""
        self._hands.closed = True
        self._asked.put(exit_code)

    def _run(self) -> None:
        exit_code = self._asked.get()
        end = time.monotonic() + self._grace_s
        log.info("leaving: %d jobs in hand", len(self._hands.claims()))
        self._goodbye()
        finished = self._hands.emptied(max(0.0, end - time.monotonic()))
        if finished and exit_code == DRAINED:
            time.sleep(CLOSE_S)  # Celery ends the process meanwhile
        self._give_back()
        os._exit(exit_code)

    def _give_back(self) -> None:
        for claim in self._hands.claims():
            try:
                self._ledger.retry(claim, "unavailable", counted=False)
                log.warning("gave %s back", claim.id)
            except Lost:
                continue
            except ForebayError as error:
                log.warning("cannot give back: %s", error)
                return


def leave_at_once(signum: int, _frame: FrameType | None) -> None:
    """A signal handler: end now. What is in hand is found by its lease."""
    os._exit(128 + signum)


def impatient() -> None:
    """Let the next signal end the process at once. In the main thread only."""
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(sig, leave_at_once)
