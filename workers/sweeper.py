"""The sweeper: `celery -A forebay.workers.sweeper worker`. Any number of them may run.

It consumes a queue for which no doorbell rings; its work is a thread that sweeps the ledger every
second. As a Celery worker it is started, watched, scaled and stopped like the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from forebay.routing.books.job_history import History
from forebay.routing.books.packed_hours import PackedHours
from forebay.routing.errors import ForebayError
from forebay.routing.lanes import SWEEP
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event, place
from forebay.workers.runtime.actor import Actor, app_on_demand
from forebay.workers.runtime.hooks import Observer, notify_swept
from forebay.workers.runtime.outcomes import Dropped, Outcome
from forebay.workers.telemetry.observers import telemetry

log = logging.getLogger(__name__)

MAX_JOBS_PER_SWEEP = 500  # of each sort; a few milliseconds of Redis' time
MAX_RECORDS_PER_SWEEP = 500  # that are looked at for entries that are missing in an index
SAMPLE_S = 20.0  # after so long the figures of the present minute are kept again
CLOSE_S = 5.0


class Sweeper:
    """Sweeps the ledger until closed; a sweep that fails is tried again."""

    def __init__(self, ledger: Ledger, observers: Sequence[Observer] = ()) -> None:
        self._ledger = ledger
        self._observers = observers
        self._history, self._sampled_at = History(ledger.redis), float("-inf")
        self._hours = PackedHours(ledger.redis, ledger.settings.books_days)
        self._cursor = 0  # of the walk over all records that `repair` makes in steps
        self._counted = b"{}"  # bytes of answers to come, as counted in that walk so far
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweeper")
        self._thread.start()

    def work(self, _: Claim, /) -> Outcome:
        """Drop the job: nothing is ever queued here, so it was forged."""
        return Dropped()

    def close(self) -> None:
        """Stop after the sweep under way."""
        self._closed.set()
        self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        pause_s = self._ledger.settings.sweep_s
        while not self._closed.wait(pause_s):
            try:
                pause_s = self._sweep()
            except Exception as error:  # noqa: BLE001 - without this thread jobs of the dead are lost
                log.warning(
                    "sweeping broke: %s at %s", type(error).__name__, place(error),
                    extra=event(Event.SWEEP_FAILED),
                )  # fmt: skip
                pause_s = self._ledger.settings.sweep_s

    def _repair(self) -> int:
        """Take one step of the walk over all records; return how many jobs were repaired."""
        self._cursor, repaired, self._counted = self._ledger.repair(
            self._cursor, MAX_RECORDS_PER_SWEEP, self._counted if self._cursor else b"{}"
        )
        return repaired

    def _remember(self) -> None:
        """Keep the figures of this minute for a day, and pack an hour of the book of jobs."""
        if time.monotonic() - self._sampled_at > SAMPLE_S:
            self._sampled_at = time.monotonic()
            try:
                self._history.sample()
                self._hours.pack()
            except ForebayError as error:
                log.warning("cannot write: %s", error, extra=event(Event.HISTORY_AWAY))

    def _tell(self, moved: Sequence[str]) -> None:
        """Tell the observers which jobs a sweep gave back or ended."""
        try:
            records = self._ledger.records(moved) if moved and self._observers else []
        except ForebayError as error:
            log.warning("cannot read what was swept: %s", error, extra=event(Event.SWEEP_FAILED))
            return
        for record in records:
            notify_swept(self._observers, record)

    def _sweep(self) -> float:
        """Sweep once; return the seconds until the next sweep."""
        settings = self._ledger.settings
        try:
            swept = self._ledger.sweep(MAX_JOBS_PER_SWEEP)
            repaired = self._repair()
        except ForebayError as error:
            log.warning("cannot sweep: %s", error, extra=event(Event.SWEEP_FAILED))
            # Redis was away for the workers too: let them renew their leases before any is ended.
            return max(settings.sweep_s, settings.lease_s / 2)
        if repaired:
            log.warning(
                "repaired %d jobs to which no index led",
                repaired,
                extra=event(Event.SWEEP_REPAIRED),
            )
        counts = {name: count for name, count in swept._asdict().items() if name != "moved"}
        if any(counts.values()):
            log.info("swept", extra=event(Event.SWEEP_DONE, **counts))
        self._tell(swept.moved)
        self._remember()
        # A full batch leaves jobs for the next sweep, which follows at once.
        return 0.0 if MAX_JOBS_PER_SWEEP in swept else settings.sweep_s


def _actor() -> Actor:
    shown = telemetry()

    def make(ledger: Ledger) -> Sweeper:
        shown.add_ledger(ledger)
        return Sweeper(ledger, shown.observers)

    return Actor([SWEEP], make, pool="solo", concurrency=1, hooks=shown.observers)


__getattr__ = app_on_demand(_actor)
