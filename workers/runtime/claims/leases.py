"""Leases: one loop renews every claim of this process, and notices which were lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
NOTICE_S = 1.0  # how late a worker notices that a job was cancelled
CLOSE_S = 5.0


class Leases:
    """Renews claims from a thread, which starts with the first claim.

    A claim is lost if its job was cancelled, expired, or was given to another worker because this
    one was too slow. The claim's `on_lost` is then called once, from the thread, to stop its work.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._interval_s = ledger.settings.lease_s / RENEWALS_PER_LEASE
        self._renewed = 0.0  # when, by the monotonic clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Claim, Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def holding(self, claim: Claim, on_lost: Callable[[], None]) -> Iterator[None]:
        """Renew the claim as long as this block runs."""
        self.hold(claim, on_lost)
        try:
            yield
        finally:
            self.release([claim])

    def hold(self, claim: Claim, on_lost: Callable[[], None]) -> None:
        """Renew the claim until it is released."""
        with self._lock:
            self._held[claim.token] = claim, on_lost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="leases")
                self._thread.start()

    def release(self, claims: Iterable[Claim]) -> None:
        """Renew these claims no longer, as far as they are held."""
        with self._lock:
            for claim in claims:
                self._held.pop(claim.token, None)

    def close(self) -> None:
        """End the thread; claims that are still held are no longer renewed."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=CLOSE_S)

    def _run(self) -> None:
        while not self._closed.wait(min(NOTICE_S, self._interval_s)):
            try:
                self._let_lost_go()
            except ForebayError as error:
                log.warning("cannot renew: %s", error, extra=event(Event.LEASE_UNRENEWED))
            except Exception as error:  # noqa: BLE001 - the other leases must still be renewed
                log.error(  # noqa: TRY400 - the message may hold content
                    "renewing broke with %s",
                    type(error).__name__,
                    extra=event(Event.LEASE_UNRENEWED),
                )

    def _let_lost_go(self) -> None:
        """Stop the work on claims that were lost; renew the others if it is time for that."""
        with self._lock:
            claims = [claim for claim, _ in self._held.values()]
        for claim in self._lost(claims) if claims else ():
            with self._lock:
                _, on_lost = self._held.pop(claim.token, (claim, None))
            if on_lost is not None:
                log.info("lost %s", claim.id, extra=event(Event.JOB_LOST, job=claim.id))
                on_lost()

    def _lost(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return the claims that were lost. To look costs Redis less than to renew."""
        now = time.monotonic()
        if now - self._renewed + NOTICE_S / 2 < self._interval_s:
            return self._ledger.lost(claims)
        self._renewed = now
        return self._ledger.renew(claims)
