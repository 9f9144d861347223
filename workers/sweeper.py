"""The sweeper: `celery -A forebay.workers.sweeper worker`. Any number of them may run.

It consumes a queue that nobody rings; its work is a thread that sweeps the ledger every second.
Being a Celery worker, it is started, watched, scaled and stopped like the others.
"""

from __future__ import annotations

import logging
import threading

from forebay.routing.errors import ForebayError, Lost
from forebay.routing.lanes import SWEEP
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.workers.runtime.actor import Actor
from forebay.workers.runtime.execute import Outcome

log = logging.getLogger(__name__)

LIMIT = 500  # jobs of each sort in one sweep: a few milliseconds of Redis' time


class Sweeper:
    """Sweeps until closed; a sweep that fails is tried again at the next one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweeper")
        self._thread.start()

    def work(self, _: Claim, /) -> Outcome:
        """Nothing is ever queued here; what somebody forged into it is dropped."""
        raise Lost

    def close(self) -> None:
        """End after the sweep under way."""
        self._closed.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        settings = self._ledger.settings
        pause_s = settings.sweep_s
        while not self._closed.wait(pause_s):
            try:
                swept = self._ledger.sweep(LIMIT)
            except ForebayError as error:
                log.warning("cannot sweep: %s", error)
                # Whoever holds jobs could not say so either: let them, before we take the jobs.
                pause_s = max(settings.sweep_s, settings.lease_s / 2)
                continue
            # A full batch has left some for the next: at once.
            pause_s = 0.0 if LIMIT in swept else settings.sweep_s
            if any(swept):
                log.info("swept %s", swept._asdict())


app = Actor([SWEEP], Sweeper, pool="solo", concurrency=1).app
