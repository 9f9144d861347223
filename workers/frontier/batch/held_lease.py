"""A lease that is renewed on a thread of its own for as long as a piece of work takes."""

from __future__ import annotations

import threading
from typing import Self

from forebay.routing.errors import Lost
from forebay.routing.store.lease import LEASE_S, Lease

RENEW_EVERY_S = LEASE_S / 3


class HeldLease:
    """Renews a lease until the block ends; `check` tells whether it still holds."""

    def __init__(self, lease: Lease, closed: threading.Event) -> None:
        """Hold a lease that was just taken; `closed` is set when this process is to end."""
        self._lease, self._closed = lease, closed
        self._over, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="batch-lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def closing(self) -> bool:
        """Whether this process is to end."""
        return self._closed.is_set()

    def check(self) -> None:
        """Raise `Lost` if another process may do the work by now, or this one is to end."""
        if self._lost.is_set() or self._closed.is_set():
            raise Lost

    def _renew(self) -> None:
        while not self._over.wait(RENEW_EVERY_S):
            if not self._lease.still():
                self._lost.set()
                return
