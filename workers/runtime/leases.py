"""Holding what this process works on: one loop renews every claim, in one round trip."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger

log = logging.getLogger(__name__)


class Leases:
    """The claims in hand, renewed three times a lease by a thread that starts with the first.

    A claim that is lost (cancelled, expired, or given to another because we were too slow) has
    its `lost` called once, from that thread: what it started can stop.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._every = ledger.settings.lease_s / 3
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Claim, Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, claim: Claim, lost: Callable[[], None]) -> Iterator[None]:
        """Renew the claim as long as this block runs."""
        with self._lock:
            self._held[claim.token] = claim, lost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="leases")
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(claim.token, None)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every):
            try:
                self._renew()
            except ForebayError as error:
                log.warning("cannot renew: %s", error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others' leases run on
                log.error("renewing broke with %s", type(error).__name__)  # noqa: TRY400

    def _renew(self) -> None:
        with self._lock:
            claims = [claim for claim, _ in self._held.values()]
        for claim in self._ledger.renew(claims) if claims else ():
            with self._lock:
                _, lost = self._held.pop(claim.token, (claim, None))
            if lost is not None:
                log.info("lost %s", claim.id)
                lost()
