"""What a process that works a batch looks at now and then: its lease, and whether it is to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from forebay.routing.errors import Unavailable
from forebay.routing.store.lease import Lease

LOOK_EVERY_S = 1.0


class LetGo(Exception):
    """This process must stop working the batch: it stops, or another process has the batch."""


class Holding:
    """The hold of this process on a batch.

    Args:
        lease: of the batch, which this process has.
        stopping: set when this process is to stop.
        leaves: returns whether the tenant moves away from this fleet: then others go on there.
    """

    def __init__(
        self, lease: Lease, stopping: threading.Event, leaves: Callable[[], bool] = lambda: False
    ) -> None:
        self._lease, self._stopping, self._leaves = lease, stopping, leaves
        self._looked_at = time.monotonic()

    def still(self) -> None:
        """Go on with the batch; call it often.

        Raises:
            LetGo: This process must stop working the batch.
        """
        if self._stopping.is_set():
            raise LetGo
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        if not self._lease.still() or self._is_leaving():
            raise LetGo

    def _is_leaving(self) -> bool:
        """Return whether the tenant moves away; without Redis, go on."""
        try:
            return self._leaves()
        except Unavailable:
            return False
