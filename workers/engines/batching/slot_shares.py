"""Which request takes a free slot of the batch, and which running request yields its slot."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from forebay.workers.engines.batching.request import QueuedRequest

RECENT_S = 10.0  # after an interactive request, its share stays reserved for so long
KNOWN_S = 120.0  # after one, its tenant is expected back: not all slots go to texts that are read
MAX_YIELDS = 1  # of a request that borrows no slot: its work is lost each time


def reserved_places(places: int, share: float) -> int:
    """Return how many of some places are reserved: at least one, if there are at least two."""
    return min(places - 1, max(1, int(places * share))) if share > 0 else 0


class SlotShares:
    """Shares out the slots between interactive requests, bulk requests and tenants.

    1. Interactive requests go before bulk requests. Of equals, a tenant that holds less than its
       fair share of the slots goes first, then the tenant that holds the fewest beyond it, then the
       earliest deadline, then the first submitted.
    2. The last `reserved` slots are for interactive requests of tenants below their fair share.
       Bulk requests take them if no interactive request has come for `RECENT_S`, so that no slot
       is empty in vain.
    3. If an interactive request finds no slot, a bulk request yields its slot, or else a request of
       a tenant above its fair share. The request that began last yields: it loses least.
    4. A request whose text is read while it is generated never yields. So such requests of one
       tenant do not take the last slot if another tenant has come in the last `KNOWN_S`.

    Only one thread at a time calls this.
    """

    def __init__(
        self, slots: int, reserved: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots, self._reserved, self._clock = slots, reserved, clock
        self._known: dict[str, float] = {}  # tenant -> when its last interactive request came

    def note(self, request: QueuedRequest) -> None:
        """Note a request that was submitted."""
        if not request.bulk:
            self._known[request.prompt.tenant] = self._clock()

    def admissions(
        self, ready: Collection[QueuedRequest], running: Collection[QueuedRequest]
    ) -> Iterator[QueuedRequest]:
        """Yield the waiting requests that take the free slots, the best first.

        Each is held to have taken its slot when the next one is asked for.
        """
        free = self._slots - len(running)
        if free <= 0 or not ready:
            return
        view = self._view(ready, running)
        queues = _in_order(ready)
        while free and (request := self._best(view, queues, free)) is not None:
            queues[_queue(request)].pop()
            view.admit(request)
            free -= 1
            yield request

    def _best(
        self, view: _View, queues: Mapping[_Queue, list[QueuedRequest]], free: int
    ) -> QueuedRequest | None:
        """Return the request that takes the next free slot; `None` if none may take one."""
        firsts = [waiting[-1] for waiting in queues.values() if waiting]
        if free > self._reserved:
            return firsts[0] if len(firsts) == 1 else min(firsts, key=view.rank, default=None)
        able = filter(view.may_take_reserved, firsts)
        if free == 1:
            able = filter(view.may_take_last, able)
        return min(able, key=view.rank, default=None)

    def yielding(
        self, ready: Iterable[QueuedRequest], running: Collection[QueuedRequest]
    ) -> QueuedRequest | None:
        """Return the running request that yields its slot to the best waiting one, if any."""
        waiting = [request for request in ready if not request.bulk]
        if not waiting or any(request.cut for request in running):
            return None  # nobody needs a slot, or a slot is about to be free
        bulk = [request for request in running if request.bulk]
        borrowing = len(bulk) > self._slots - self._reserved
        if latest := _latest_that_may_yield(bulk, borrowing=borrowing):
            return latest
        view = self._view(waiting, running)
        best = min(waiting, key=view.rank)
        over = [each for each in running if not each.bulk and view.holds_more(each, best)]
        lent = [each for each in over if view.lends(each, best)]
        return _latest_that_may_yield(lent, borrowing=True) or _latest_that_may_yield(
            over, borrowing=False
        )

    def _view(
        self, waiting: Collection[QueuedRequest], running: Collection[QueuedRequest]
    ) -> _View:
        now = self._clock()
        self._known = {tenant: at for tenant, at in self._known.items() if now - at <= KNOWN_S}
        seen = {tenant for tenant, at in self._known.items() if now - at <= RECENT_S}
        return _View(self._slots, waiting, running, seen, set(self._known))


class _View:
    """The tenants at one moment: how many slots each holds, and how many are its fair share."""

    def __init__(
        self,
        slots: int,
        waiting: Iterable[QueuedRequest],
        running: Collection[QueuedRequest],
        seen: Collection[str],
        known: set[str],
    ) -> None:
        self._known = known
        self._yieldable = sum(each.on_text is None for each in running)
        self._held = Counter((each.bulk, each.prompt.tenant) for each in running)
        present = self._held.keys() | {(each.bulk, each.prompt.tenant) for each in waiting}
        present |= {(False, tenant) for tenant in seen}
        tenants = Counter(bulk for bulk, _ in present)
        self._share = {bulk: max(1, slots // count) for bulk, count in tenants.items()}
        self._interactive = tenants[False] > 0

    def admit(self, request: QueuedRequest) -> None:
        """Count a slot that this request takes."""
        self._yieldable += request.on_text is None
        self._held[request.bulk, request.prompt.tenant] += 1

    def rank(self, request: QueuedRequest) -> tuple[int, int, float, float]:
        """Return the order of admission; the lowest rank goes first."""
        priority, deadline = request.rank
        beyond = self._held_by(request) - self._share[request.bulk] + 1
        return priority, max(0, beyond), deadline, request.since

    def may_take_reserved(self, request: QueuedRequest) -> bool:
        """Return whether a waiting request may take a reserved slot."""
        return not (self._interactive if request.bulk else self._has_share(request))

    def may_take_last(self, request: QueuedRequest) -> bool:
        """Return whether a waiting request may take the last slot.

        If no running request can yield, a tenant that is expected back would find no slot for as
        long as the shortest answer takes.
        """
        if self._yieldable or request.on_text is None or not self._held_by(request):
            return True
        return self._known <= {request.prompt.tenant}

    def lends(self, request: QueuedRequest, other: QueuedRequest) -> bool:
        """Return whether a request has borrowed a slot of another's fair share."""
        return self._held_by(request) > self._share[request.bulk] and not self._has_share(other)

    def holds_more(self, request: QueuedRequest, other: QueuedRequest) -> bool:
        """Return whether its tenant holds more slots than the other's, even without this one."""
        return self._held_by(request) > self._held_by(other) + 1

    def _has_share(self, request: QueuedRequest) -> bool:
        return self._held_by(request) >= self._share[request.bulk]

    def _held_by(self, request: QueuedRequest) -> int:
        return self._held[request.bulk, request.prompt.tenant]


#: Requests whose order never changes are in one queue: those of one priority and one tenant.
_Queue = tuple[int, str]


def _queue(request: QueuedRequest) -> _Queue:
    return request.prompt.priority, request.prompt.tenant


def _in_order(ready: Iterable[QueuedRequest]) -> dict[_Queue, list[QueuedRequest]]:
    """Return the waiting requests by their queue, the first to go last in its list."""
    queues: dict[_Queue, list[QueuedRequest]] = {}
    for request in ready:
        queues.setdefault(_queue(request), []).append(request)
    for waiting in queues.values():
        waiting.sort(key=lambda request: (request.rank, request.since), reverse=True)
    return queues


def _latest_that_may_yield(
    running: Iterable[QueuedRequest], *, borrowing: bool
) -> QueuedRequest | None:
    """Return the request that began last of those that may yield; see `MAX_YIELDS`."""
    may = (
        request
        for request in running
        if request.on_text is None and (borrowing or request.yields < MAX_YIELDS)
    )
    return max(may, key=lambda request: request.began, default=None)
