"""Works the batches and bulks of all tenants on threads of this process.

Each process of a gateway has a keeper. A lease in Redis sees to it that one keeper works a batch at
a time; if its process dies, another takes the batch over, from what is on the disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forebay.producers.gateway.batch_work.holding import LOOK_EVERY_S, Holding, LetGo
from forebay.producers.gateway.batch_work.working import Workbench
from forebay.producers.gateway.errors import INTERNAL
from forebay.routing.errors import CallerError, ForebayError, Misconfigured
from forebay.routing.logs import Event, event, place
from forebay.routing.store.lease import Lease

CLEAN_EVERY_S = 3_600.0
WAIT_S = 10.0  # before a batch that could not go on is tried again
STOP_S = 20.0  # within which the threads of a stopping process let go of their batches

log = logging.getLogger(__name__)


class Keeper:
    """Works batches until it is stopped.

    1. Looks each second for batches that have not ended, have their files here, and are not worked.
    2. Works up to `at_once` of them, first those of tenants that have the fewest worked here.
    3. Removes files that have expired.

    Args:
        bench: what working a batch needs.
        lease: returns the lease of this name.
        at_once: batches that are worked at a time.
        leaves: returns whether a tenant moves away from this fleet.
    """

    def __init__(
        self,
        bench: Workbench,
        lease: Callable[[str], Lease],
        at_once: int,
        leaves: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._bench, self._lease, self._at_once = bench, lease, at_once
        self._leaves = leaves
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._not_before: dict[str, float] = {}
        self._cleaned_at = 0.0
        self._looker = threading.Thread(target=self._look_on, name="batches", daemon=True)

    def start(self) -> None:
        """Begin to look for batches."""
        self._looker.start()

    def stop(self) -> None:
        """Let go of all batches; other processes, or a later one, go on with them."""
        self._stopping.set()
        end = time.monotonic() + STOP_S
        for thread in (self._looker, *list(self._threads.values())):
            with suppress(RuntimeError):  # it was never started
                thread.join(max(0.0, end - time.monotonic()))

    def _look_on(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self._look()
            except ForebayError:  # Redis or the disk is away: look again
                continue
            except Exception as error:  # noqa: BLE001 - no batch would be worked any more
                _log(error)

    def _look(self) -> None:
        self._threads = {name: each for name, each in self._threads.items() if each.is_alive()}
        for batch_id in self._waiting():
            if len(self._threads) >= self._at_once or self._stopping.is_set():
                break
            self._take(batch_id)
        if time.monotonic() - self._cleaned_at > CLEAN_EVERY_S or not self._cleaned_at:
            self._cleaned_at = time.monotonic()
            self._bench.files.clean(time.time())

    def _waiting(self) -> list[str]:
        """Return the batches that might be taken: of each tenant in turn, the oldest first."""
        now = time.monotonic()
        self._not_before = {name: at for name, at in self._not_before.items() if at > now}
        taken = Counter(_tenant(batch_id) for batch_id in self._threads)
        turns = []
        for batch_id in self._bench.store.open():
            if batch_id not in self._threads and batch_id not in self._not_before:
                turns.append((taken[_tenant(batch_id)], batch_id))
                taken[_tenant(batch_id)] += 1
        return [batch_id for _, batch_id in sorted(turns, key=lambda turn: turn[0])]

    def _take(self, batch_id: str) -> None:
        """Work a batch on a thread of its own, if it is ours to work and nobody does."""
        batch = self._bench.store.find(batch_id)
        elsewhere = batch is not None and batch.store != self._bench.files.id
        if elsewhere or self._leaves(_tenant(batch_id)):
            self._not_before[batch_id] = time.monotonic() + WAIT_S
            return
        lease = self._lease(batch_id)
        if lease.hold():
            thread = threading.Thread(target=self._work, args=(batch_id, lease), daemon=True)
            self._threads[batch_id] = thread
            thread.start()

    def _work(self, batch_id: str, lease: Lease) -> None:
        leaves = partial(self._leaves, _tenant(batch_id))
        holding = Holding(lease, self._stopping, leaves)
        try:
            if not self._bench.work(batch_id, holding.still):
                self._not_before[batch_id] = time.monotonic() + LOOK_EVERY_S
        except LetGo:
            pass
        except Exception as error:  # noqa: BLE001 - the thread ends with its batch
            self._give_up(batch_id, error)
        finally:
            with suppress(ForebayError):
                lease.release()

    def _give_up(self, batch_id: str, error: Exception) -> None:
        """Try a batch again later; one that would break the same way each time has failed."""
        self._not_before[batch_id] = time.monotonic() + WAIT_S
        if isinstance(error, ForebayError) and (
            not isinstance(error, CallerError) or isinstance(error, Misconfigured)
        ):
            return
        _log(error)
        code, message = INTERNAL.code, "the gateway broke while it worked on this batch"
        if isinstance(error, CallerError):
            code, message = error.code, error.message
        entry = {"code": code, "message": message, "param": None, "line": None}
        with suppress(ForebayError):
            self._bench.store.update(batch_id, failed_at=time.time(), errors=[entry])


def _tenant(batch_id: str) -> str:
    return batch_id.partition(".")[0]


def _log(error: Exception) -> None:
    log.error(
        "a batch broke: %s at %s", type(error).__name__, place(error),
        extra=event(Event.BATCH_BROKE),
    )  # fmt: skip
