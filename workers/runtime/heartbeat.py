"""Saying that a worker lives: the fleet knows who serves a queue, and which queues nobody does."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger

log = logging.getLogger(__name__)

EVERY_S = 2.0
ALIVE_S = 10.0  # a worker not heard of for so long is counted as gone


class Heartbeat:
    """Writes this worker's name to `fb:serving:<queue>` every other second until stopped.

    Args:
        ledger: where it is written.
        queues: those it consumes at the moment.
        well: whether it takes jobs; one that does not is not said to serve.
    """

    def __init__(
        self,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        well: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._worker = ""
        self._queues = queues
        self._well = well
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="presence")

    def start(self) -> None:
        """Begin, under the name of this machine and process."""
        self._worker = f"{socket.gethostname()}.{os.getpid()}"
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, as far as Redis listens."""
        if self._stopped.is_set() or not self._worker:
            return
        self._stopped.set()
        self._thread.join(timeout=EVERY_S)
        self._say(0)

    def _run(self) -> None:
        self._say(ALIVE_S)
        while not self._stopped.wait(EVERY_S):
            self._say(ALIVE_S if self._well() else 0)

    def _say(self, for_s: float) -> None:
        try:
            self._ledger.serve(self._worker, self._queues(), for_s)
        except ForebayError as error:
            log.warning("cannot say that we are here: %s", error)
