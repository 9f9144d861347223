"""The announcement of this worker's models, so that a gateway knows whose answers are cached."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from forebay.routing.base import Kind
from forebay.routing.errors import ForebayError
from forebay.routing.logs import Event, event
from forebay.routing.store.served_models import ServedModels, Signature

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
ANNOUNCED_S = 10.0  # so long after the last announcement a model still counts as served
CLOSE_S = 5.0


class Announcement:
    """Announces every other second which model answers each kind, from a thread of its own."""

    def __init__(
        self,
        served: ServedModels,
        queues: Sequence[str],
        signatures: Callable[[], Mapping[Kind, Signature]],
    ) -> None:
        self._served, self._queues, self._signatures = served, queues, signatures
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="announcement")
        self._thread.start()

    def close(self) -> None:
        """End the thread; the last announcement expires soon."""
        self._closed.set()
        self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        self._announce()
        while not self._closed.wait(INTERVAL_S):
            self._announce()

    def _announce(self) -> None:
        try:
            self._served.announce(self._queues, self._signatures(), ANNOUNCED_S)
        except ForebayError as error:
            log.warning("cannot announce the model: %s", error, extra=event(Event.WORKER_UNSEEN))
