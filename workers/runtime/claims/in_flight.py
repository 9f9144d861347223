"""The jobs in flight in this process: claims from the doorbell until their outcome is recorded."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from forebay.routing.ledger.claim import Claim, Selection

SOON_S = 0.01  # between the ends of two jobs: then a slot is free before anybody notices
MOMENT_S = 0.1  # in which jobs that were claimed together end, if they are quick
NEW_SHARE = 0.02  # of the latest job in the mean of `s_between_ends`


class LastMinute:
    """Counts the jobs of the last minute, and their time, by the second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, float]] = deque(maxlen=60)

    def note(self, took_s: float) -> None:
        """Count a job that has just ended."""
        now = int(time.monotonic())
        at, jobs, total_s = self._seconds[-1] if self._seconds else (0, 0, 0.0)
        if at == now:
            self._seconds[-1] = now, jobs + 1, total_s + took_s
        else:
            self._seconds.append((now, 1, took_s))

    def rate(self) -> tuple[int, float]:
        """Return how many jobs ended in the last minute, and the mean of their seconds."""
        since = time.monotonic() - 60
        kept = [(jobs, total_s) for at, jobs, total_s in list(self._seconds) if at >= since]
        count = sum(jobs for jobs, _ in kept)
        return count, sum(total_s for _, total_s in kept) / count if count else 0.0


class InFlight:
    """The claims that this process holds, and whether it takes more.

    Attributes:
        slots: how many claims the threads of Celery hold at most. Those of the reserve come on top.
        reserve: how many claims the reserve holds at most.
        closed: the process is draining; no doorbell is answered any more.
        drained: an operator has drained the worker; no doorbell is answered until it is resumed.
        doorbells: how many have come so far, including those for which no job waited.
        ended: how many claims have ended so far.
        last_minute: counts those of the last minute, but for those that go back to their queue.
        retries: counts those of the last minute that go back.
        s_between_ends: about every how many seconds a job ends here while others run; 0 before the
            first has ended.
        shard_places: bounds the threads that work shards of bulks, so that most are free for jobs
            that somebody waits for.
    """

    def __init__(self, slots: int, shards_at_once: int = 1) -> None:
        self.slots = slots
        self.reserve = 0
        self.shard_places = threading.BoundedSemaphore(shards_at_once)
        self.closed = self.drained = False
        self.doorbells = 0
        self.ended = 0
        self.last_minute, self.retries = LastMinute(), LastMinute()
        self._claims: dict[str, Claim] = {}  # by token
        self._began: dict[str, float] = {}  # when each began
        self._reserved: set[str] = set()  # tokens of the claims that the reserve holds
        self._going_back: set[str] = set()  # tokens of the claims whose jobs go back
        self._claiming = 0  # threads that have asked Redis for jobs, and have no answer yet
        self._lock = threading.RLock()
        # Whoever waits for room is not woken by each claim, nor whoever waits until there is none.
        self._filling, self._freeing = (threading.Condition(self._lock) for _ in range(2))
        self.s_between_ends = 0.0
        self._ended_at = 0.0

    @property
    def free(self) -> bool:
        """True if there is a slot for another claim."""
        return not (self.drained or self._full())

    def admit(self) -> bool:
        """Count a doorbell; return False if this process takes no jobs."""
        self.doorbells += 1
        return self.takes

    @property
    def takes(self) -> bool:
        """True unless this process drains, or an operator has drained it."""
        return not (self.closed or self.drained)

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Count a claim that is under way; hold what it brings before this block ends."""
        with self._lock:
            self._claiming += 1
        try:
            yield
        finally:
            with self._lock:
                self._claiming -= 1
                self._freeing.notify_all()

    @contextmanager
    def holding(self, claim: Claim, *, reserved: bool = False) -> Iterator[None]:
        """Count the claim as in flight as long as this block runs; `reserved` needs no slot."""
        if reserved:
            self._reserved.add(claim.token)
        self.hold([claim])
        try:
            yield
        finally:
            self.release([claim])

    def hold(self, claims: Sequence[Claim]) -> None:
        """Count claims as in flight until they are released."""
        now = time.monotonic()
        with self._lock:
            for claim in claims:
                self._claims[claim.token], self._began[claim.token] = claim, now
            if self._full():
                self._filling.notify_all()

    def release(self, claims: Sequence[Claim]) -> None:
        """Count claims as ended, except those that have ended already."""
        with self._lock:
            for claim in claims:
                if claim.token in self._claims:
                    self._end(claim)
            self._freeing.notify_all()

    def _end(self, claim: Claim) -> None:
        now, began = time.monotonic(), self._began.pop(claim.token)
        took_s = now - began
        del self._claims[claim.token]
        reserved = claim.token in self._reserved
        self._reserved.discard(claim.token)
        self.ended += 1
        if claim.token in self._going_back:
            self._going_back.discard(claim.token)
            self.retries.note(took_s)
            return
        self.last_minute.note(took_s)
        if not (claim.record.rows or reserved):  # the others free a slot
            between_s = now - max(began, self._ended_at)
            share = NEW_SHARE if self.s_between_ends else 1.0
            self.s_between_ends += (between_s - self.s_between_ends) * share
            self._ended_at = now

    def gives_back(self, claim: Claim) -> None:
        """Count a claim in flight as one whose job goes back to its queue."""
        with self._lock:
            if claim.token in self._claims:
                self._going_back.add(claim.token)

    def claims(self) -> list[Claim]:
        """Return the claims in flight now."""
        with self._lock:
            return list(self._claims.values())

    def by_tenant(self) -> Counter[str]:
        """Return how many claims are in flight for each tenant."""
        return Counter(claim.tenant for claim in self.claims())

    def many(self) -> frozenset[str]:
        """Return the tenants whose next job would not have the right of way here."""
        held = self.by_tenant()
        most = max(held.values(), default=0) // 2
        return frozenset(tenant for tenant, count in held.items() if count >= most)

    def fewest_first(self) -> Selection:
        """Return the selection by which tenants with the fewest claims here go first."""
        return Selection(held=self.by_tenant())

    def emptied(self, within_s: float) -> bool:
        """Wait until no claim is in flight, or under way.

        Returns:
            False if that takes longer than `within_s`.
        """
        with self._lock:
            return self._freeing.wait_for(lambda: not (self._claims or self._claiming), within_s)

    @property
    def ends_soon(self) -> bool:
        """True if jobs end here so often that one soon leaves its slot."""
        idle_s = time.monotonic() - self._ended_at
        return 0 < max(self.s_between_ends, idle_s) < SOON_S

    @property
    def quick(self) -> bool:
        """True if jobs have ended here so often, until a moment ago: many may end together."""
        idle_s = time.monotonic() - self._ended_at
        return 0 < self.s_between_ends < SOON_S and idle_s < MOMENT_S

    def filled(self, within_s: float) -> bool:
        """Wait until jobs hold all slots; return False if that takes longer than `within_s`.

        A drained process is never filled: it takes no job, whoever asks for it.
        """
        with self._lock:
            return self._filling.wait_for(lambda: self._full() and not self.drained, within_s)

    def room(self, least: int, within_s: float) -> int:
        """Wait until so many slots are free, but no longer than this; return how many are."""
        with self._lock:
            self._freeing.wait_for(lambda: self.slots - self._held() >= least, within_s)
            return max(0, self.slots - self._held())

    def _full(self) -> bool:
        return self._held() >= self.slots

    def _held(self) -> int:
        """Return how many claims the threads of Celery hold."""
        return len(self._claims) - len(self._reserved)
