"""The jobs in flight in this process: claims from the doorbell until their outcome is recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.routing.ledger.claim import Claim


class InFlight:
    """The claims that this process holds, and whether it takes more.

    Attributes:
        slots: how many claims the threads of Celery hold at most. Those of the reserve come on top.
        closed: the process is draining; no doorbell is answered any more.
        doorbells: how many have come so far, including those for which no job waited.
        ended: how many claims have ended so far.
        shard_places: bounds the threads that work shards of bulks, so that most are free for jobs
            that somebody waits for.
    """

    def __init__(self, slots: int, shards_at_once: int = 1) -> None:
        self.slots = slots
        self.shard_places = threading.BoundedSemaphore(shards_at_once)
        self.closed = False
        self.doorbells = 0
        self.ended = 0
        self._claims: dict[str, Claim] = {}
        self._reserved: set[str] = set()  # tokens of the claims that the reserve holds
        self._changed = threading.Condition()

    @property
    def free(self) -> bool:
        """True if there is a slot for another claim."""
        return len(self._claims) - len(self._reserved) < self.slots

    def admit(self) -> bool:
        """Count a doorbell; return False while draining."""
        self.doorbells += 1
        return not self.closed

    @contextmanager
    def holding(self, claim: Claim, *, reserved: bool = False) -> Iterator[None]:
        """Count the claim as in flight as long as this block runs; `reserved` needs no slot."""
        with self._changed:
            self._claims[claim.token] = claim
            if reserved:
                self._reserved.add(claim.token)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                del self._claims[claim.token]
                self._reserved.discard(claim.token)
                self.ended += 1
                self._changed.notify_all()

    def claims(self) -> list[Claim]:
        """Return the claims in flight now."""
        with self._changed:
            return list(self._claims.values())

    def emptied(self, within_s: float) -> bool:
        """Wait until no claim is in flight; return False if that takes longer than `within_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._claims, within_s)

    def filled(self, within_s: float) -> bool:
        """Wait until no slot is free; return False if that takes longer than `within_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.free, within_s)
