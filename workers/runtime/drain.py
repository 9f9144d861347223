"""Draining: what runs is finished or given back, and then the process ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import FrameType

from forebay.routing.errors import ForebayError, Lost
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event
from forebay.workers.runtime.claims.in_flight import InFlight

log = logging.getLogger(__name__)

DRAINED = 0  # exit codes
WEDGED = 75  # EX_TEMPFAIL in sysexits.h: the supervisor should start the worker again
CLOSE_S = 10.0  # for Celery and the engine to end by themselves once no job is in flight


class Drain:
    """Ends a worker in order.

    1. Takes no more jobs, and withdraws the worker from the fleet.
    2. Gives running jobs `grace_s` to finish.
    3. Gives the rest back: another worker has them within a second. That is no attempt of theirs,
       unless this worker is wedged, which may be their doing.
    4. Rings for others where jobs wait, since doorbells that this worker took end with it.
    5. Ends the process, whatever hangs. A job that could not be given back is found by its lease.

    Args:
        ledger: over a client that does not wait long for Redis.
        in_flight: the jobs that run.
        grace_s: how long they may run on.
        withdraw: called once, before the wait.
        queues: returns the queues that the worker serves.
    """

    def __init__(
        self,
        ledger: Ledger,
        in_flight: InFlight,
        grace_s: float,
        withdraw: Callable[[], None],
        queues: Callable[[], Sequence[str]],
    ) -> None:
        self._ledger = ledger
        self._in_flight = in_flight
        self._grace_s = grace_s
        self._withdraw = withdraw
        self._queues = queues
        self._exit_codes: SimpleQueue[int] = SimpleQueue()

    def start(self) -> None:
        """Start the thread that drains, which waits for `begin`: signal handlers start none."""
        threading.Thread(target=self._run, daemon=True, name="drain").start()

    def begin(self, exit_code: int = DRAINED) -> None:
        """Drain, then end with this exit code. Takes no lock, so signal handlers may call it."""
        self._in_flight.closed = True
        self._exit_codes.put(exit_code)

    def wait(self) -> None:
        """Wait until the jobs in flight have ended, if this worker drains.

        Does not return if they outlast the grace period: the process ends meanwhile.
        """
        if self._in_flight.closed:
            self._in_flight.emptied(self._grace_s + CLOSE_S)

    def ring_for_others(self) -> None:
        """Ring once for each queue in which jobs wait, after this worker has stopped.

        Redis may have sent it a doorbell when it had ceased to read any.
        """
        try:
            for queue in self._ledger.queues_with_jobs(self._queues(), bulk=True):
                self._ledger.ring(queue)
        except ForebayError as error:
            log.info("doorbells are left to the sweeper: %s", error, extra=event(Event.QUEUE_LEFT))

    def _run(self) -> None:
        exit_code = self._exit_codes.get()
        end = time.monotonic() + self._grace_s
        log.info(
            "leaving: %d jobs in flight",
            len(self._in_flight.claims()),
            extra=event(Event.WORKER_LEAVING),
        )
        self._withdraw()
        finished = self._in_flight.emptied(max(0.0, end - time.monotonic()))
        if finished and exit_code == DRAINED:
            time.sleep(CLOSE_S)  # Celery ends the process meanwhile
        self._give_back(counted=exit_code == WEDGED)
        self.ring_for_others()
        os._exit(exit_code)

    def _give_back(self, *, counted: bool) -> None:
        note = "its worker stood still and was restarted" if counted else "its worker was stopped"
        for claim in self._in_flight.claims():
            try:
                self._ledger.retry(claim, "unavailable", note=note, counted=counted)
                log.warning(
                    "gave %s back", claim.id, extra=event(Event.JOB_GIVEN_BACK, job=claim.id)
                )
            except Lost:
                continue
            except ForebayError as error:
                log.warning("cannot give back: %s", error, extra=event(Event.JOB_UNRECORDED))
                return


def end_at_once(signum: int, _frame: FrameType | None) -> None:
    """End the process from a signal handler. The jobs in flight are found by their leases."""
    os._exit(128 + signum)


def end_at_next_signal() -> None:
    """Have the next signal end the process at once. Call it in the main thread."""
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(sig, end_at_once)
