"""What this process has in hand: the claims it works, from the doorbell to their conclusion."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.routing.ledger.claim import Claim


class InFlight:
    """The claims in hand, and whether there will be more.

    Attributes:
        slots: how many claims fit in at once.
        closed: no doorbell is answered any more.
        answered: doorbells answered so far, also those that found nothing waiting.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.closed = False
        self.answered = 0
        self._held: dict[str, Claim] = {}
        self._changed = threading.Condition()

    @property
    def free(self) -> bool:
        """Whether another claim fits in."""
        return len(self._held) < self.slots

    def answer(self) -> bool:
        """Whether a doorbell that came is to be answered."""
        self.answered += 1
        return not self.closed

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """The claim is in hand as long as this block runs."""
        with self._changed:
            self._held[claim.token] = claim
        try:
            yield
        finally:
            with self._changed:
                del self._held[claim.token]
                self._changed.notify_all()

    def claims(self) -> list[Claim]:
        """Those in hand now."""
        with self._changed:
            return list(self._held.values())

    def emptied(self, within_s: float) -> bool:
        """Wait until nothing is in hand; false when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, within_s)
