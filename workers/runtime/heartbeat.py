"""The heartbeat: the fleet knows which workers serve a queue, and which queues nobody serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
ALIVE_S = 10.0  # a worker without a heartbeat for so long counts as gone


class Heartbeat:
    """Writes this worker's name, Celery's, to `fb:serving:<queue>` every other second.

    Args:
        ledger: where the heartbeat is written.
        queues: returns the queues that the worker consumes at the moment.
        well: returns whether the worker takes jobs; if not, it does not count as serving.
        also: called with each heartbeat of a worker that is well.
    """

    def __init__(
        self,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        well: Callable[[], bool],
        also: Callable[[], object] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._worker = ""
        self._queues = queues
        self._well = well
        self._also = also
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def start(self, worker: str) -> None:
        """Begin, under Celery's name of this worker, unless it has begun."""
        with self._starting:
            if not self._worker:
                self._worker = worker
                self._thread.start()

    def stop(self) -> None:
        """Stop, and withdraw the worker's name if Redis can be reached."""
        if self._stopped.is_set() or not self._worker:
            return
        self._stopped.set()
        self._thread.join(timeout=INTERVAL_S)
        self._beat(0)

    def _run(self) -> None:
        self._beat(ALIVE_S)
        while not self._stopped.wait(INTERVAL_S):
            self._beat(ALIVE_S if self._well() else 0)

    def _beat(self, for_s: float) -> None:
        """Count this worker as serving for so many seconds from now on."""
        try:
            self._ledger.serve(self._worker, self._queues(), for_s)
            if for_s:
                self._also()
        except ForebayError as error:
            log.warning("cannot write the heartbeat: %s", error, extra=event(Event.WORKER_UNSEEN))
