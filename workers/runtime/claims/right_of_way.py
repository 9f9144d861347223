"""The right of way: few jobs of a tenant are computed before many of another.

All jobs of a worker share one interpreter. If its engine is quick, a job of a tenant that waits for
its answer would take as long as the twenty jobs of a long queue that are worked beside it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from forebay.routing.ledger.claim import Claim

MOST_S = 0.02  # after which a thread has the right of way no longer


class RightOfWay:
    """Tells which jobs go first, and lets the threads that work others wait for them.

    1. `working` counts the jobs of a thread, and tells which of them go first.
    2. In a block of `computing(first=True)` a thread works such jobs.
    3. Between two steps of other jobs a thread calls `give_way`.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()  # tenant -> jobs in work
        self._ends: dict[int, float] = {}  # thread that goes first -> when others wait no longer
        self._changed = threading.Condition()

    @contextmanager
    def working(self, claims: Sequence[Claim]) -> Iterator[tuple[list[Claim], list[Claim]]]:
        """Count these jobs as in work in the block; return those that go first, and the others.

        A job goes first if another tenant has at least twice as many jobs in work as its own. A
        shard does not: it takes minutes.
        """
        tenants = Counter(claim.tenant for claim in claims)
        with self._changed:
            self._held.update(tenants)
            most = max(self._held.values(), default=0) // 2
            few = {tenant for tenant in tenants if self._held[tenant] <= most}
        first: list[Claim] = []
        others: list[Claim] = []
        for claim in claims:
            (first if claim.tenant in few and not claim.record.rows else others).append(claim)
        try:
            yield first, others
        finally:
            with self._changed:
                self._held.subtract(tenants)
                self._held = +self._held

    @contextmanager
    def computing(self, *, first: bool) -> Iterator[None]:
        """Have other threads give way in this block, if it works jobs that go first."""
        thread = threading.get_ident()
        if not first or thread in self._ends:
            yield
            return
        with self._changed:
            self._ends[thread] = time.monotonic() + MOST_S
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(thread, None)
                self._changed.notify_all()

    def give_way(self) -> None:
        """Wait for the threads that go first, if this is none of them."""
        if self._ends and threading.get_ident() not in self._ends:
            with self._changed:
                end = max(self._ends.values(), default=0.0)
                self._changed.wait_for(lambda: not self._ends, end - time.monotonic())


#: That of this process, as there is one interpreter.
right_of_way = RightOfWay()
