"""Working while Redis is full: then Celery's own writes are refused, and the ledger's are not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import redis

from forebay.routing.logs import Event, event

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
POLL_EVERY_S = 0.2
_PROBE = "fb:probe"  # never stored: the probe writes nothing


def is_full(client: redis.Redis) -> bool:
    """Return whether Redis refuses writes because it is full; false if it does not answer."""
    try:
        client.setrange(_PROBE, 0, "")
    except redis.exceptions.OutOfMemoryError:
        return True
    except redis.RedisError:
        return False
    return False


class Slots(Protocol):
    """How many jobs a worker takes at once, whether one of its slots is free, and if it drains."""

    slots: int
    closed: bool

    @property
    def free(self) -> bool:
        """True if there is a slot for another job."""


class FullRedis:
    """Takes jobs without doorbells as long as Redis is full, so that those that wait can end.

    Celery cannot note the doorbell that it takes while Redis is full, and so takes none. Scripts of
    the ledger may run then: ended jobs free what they held.

    Args:
        client: looks whether Redis is full.
        in_flight: the jobs that run; the thread ends once it is closed.
        takes: for each queue, takes its best job without a doorbell, and works it.
        begin: called before jobs are taken; a worker that starts while Redis is full is not ready
            in Celery's eyes, and serves its queues all the same.

    Attributes:
        taking: whether it takes jobs at the moment.
    """

    def __init__(
        self,
        client: redis.Redis,
        in_flight: Slots,
        takes: Sequence[Callable[[], object]],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.taking = False
        self._begin = begin
        self._client = client
        self._in_flight = in_flight
        self._takes = takes
        self._stopped = threading.Event()
        self._running: set[threading.Thread] = set()

    def start(self) -> None:
        """Start the thread that looks."""
        threading.Thread(target=self._run, daemon=True, name="full-redis").start()

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopped.set()

    def _run(self) -> None:
        pause_s = LOOK_EVERY_S
        while not self._stopped.wait(pause_s) and not self._in_flight.closed:
            full = is_full(self._client)
            if full and not self.taking:
                log.warning(
                    "Redis is full: taking jobs without doorbells", extra=event(Event.REDIS_FULL)
                )
                self._begin()
            self.taking = full
            pause_s = POLL_EVERY_S if full else LOOK_EVERY_S
            if full:
                self._fill_slots()
        self.taking = False

    def _fill_slots(self) -> None:
        """Start a thread for each free slot, which takes from every queue in turn."""
        self._running = {thread for thread in self._running if thread.is_alive()}
        while self._in_flight.free and len(self._running) < self._in_flight.slots:
            thread = threading.Thread(target=self._take_all, daemon=True, name="without-doorbell")
            self._running.add(thread)
            thread.start()

    def _take_all(self) -> None:
        for take in self._takes:
            take()
