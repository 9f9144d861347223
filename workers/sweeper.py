"""The sweeper: `celery -A workers.sweeper worker`. Any number of them may run.

It consumes a queue that nobody rings; its work is a thread that sweeps the ledger every second.
Being a Celery worker, it is started, watched, scaled and stopped like the others.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.signals import worker_ready, worker_shutdown

from routing.errors import ForebayError
from routing.ledger import Ledger
from workers.actor import Actor

log = logging.getLogger(__name__)

QUEUE = "sweep"


class Sweeper:
    """Sweeps until stopped; a sweep that fails is tried again at the next one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweeper")

    def start(self, **_: Any) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, **_: Any) -> None:
        """End after the sweep under way."""
        self._stopped.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.wait(self._ledger.settings.sweep_s):
            try:
                swept = self._ledger.sweep()
            except ForebayError as error:
                log.warning("cannot sweep: %s", error)
                continue
            if any(swept):
                log.info("swept %s", swept._asdict())


actor = Actor([QUEUE], pool="solo", concurrency=1)
app = actor.app
_sweeper = Sweeper(actor.ledger)
worker_ready.connect(_sweeper.start, weak=False)
worker_shutdown.connect(_sweeper.stop, weak=False)
