"""The backlog: how many jobs wait, which decides whether there is time for a second opinion."""

from __future__ import annotations

import math

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.store.ttl_cache import TtlCache

LOOK_EVERY_S = 0.5


class Backlog:
    """Jobs waiting, by queue, as of at most half a second ago."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._depths = TtlCache(self._read, LOOK_EVERY_S)

    def depth(self, queue: str) -> float:
        """Return the jobs that wait in a queue; infinity if unknown, so that none is added."""
        depths = self._depths()
        return math.inf if depths is None else depths.get(queue, 0)

    def _read(self) -> dict[str, int] | None:
        try:
            return self._ledger.depths()
        except ForebayError:
            return None
