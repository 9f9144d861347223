"""Prepares the requests that wait, on threads of its own: the best rank first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from forebay.routing.errors import EngineDied, ForebayError
from forebay.workers.engines.batching.error_location import error_location
from forebay.workers.engines.batching.generator import Preparer
from forebay.workers.engines.batching.request import QueuedRequest

_THREADS = 2  # so that one long prompt or grammar does not hold up all others


class Preparing:
    """Has a preparer prepare requests until they are ready.

    Args:
        preparer: prepares a prompt.
        changed: the lock over the waiting requests; notified when one is ready.
        waiting: the waiting requests by the ids of their prompts.
        refuse: ends a request that cannot be prepared, if it still waits.
    """

    def __init__(
        self,
        preparer: Preparer,
        changed: threading.Condition,
        waiting: Mapping[str, QueuedRequest],
        refuse: Callable[[QueuedRequest, ForebayError], object],
    ) -> None:
        self._preparer, self._changed = preparer, changed
        self._waiting, self._refuse = waiting, refuse
        self._threads = ThreadPoolExecutor(_THREADS, "engine-prepare")

    def begin(self) -> None:
        """Have one more request prepared.

        The caller holds the lock, so that `close` cannot stop the threads in between.
        """
        self._threads.submit(self._prepare_best)

    def forget(self, request: QueuedRequest) -> None:
        """Discard what was prepared for a request that has ended."""
        self._preparer.forget(request.prompt)

    def close(self) -> None:
        """Prepare no more requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepare_best(self) -> None:
        """Prepare the best request that no thread has begun with, if any is left."""
        with self._changed:
            fresh = [request for request in self._waiting.values() if request.stage == "fresh"]
            if not fresh:
                return
            request = min(fresh, key=lambda request: request.rank)
            request.stage = "preparing"
        try:
            self._preparer.prepare(request.prompt)
        except Exception as error:  # noqa: BLE001 - whatever broke, nobody may wait for ever
            self._refuse(request, _as_ours(error))
            return
        with self._changed:
            request.stage = "ready"
            self._changed.notify()
            waits = self._waiting.get(request.prompt.id) is request
        if not waits:
            self.forget(request)


def _as_ours(error: Exception) -> ForebayError:
    if isinstance(error, ForebayError):
        return error
    return EngineDied(f"the engine broke: {error_location(error)}")  # its message may quote the job
