"""The backlog: read now and then, and taken for long if it is not known."""

from __future__ import annotations

from forebay.routing.errors import Unavailable
from forebay.workers.cascade.backlog import Backlog


class FakeLedger:
    """Has one queue, and counts how often it is asked."""

    reads, broken = 0, False

    def depths(self):
        self.reads += 1
        if self.broken:
            raise Unavailable("no Redis")
        return {"local.default": 3}


def test_the_queues_are_read_twice_a_second_at_most():
    ledger = FakeLedger()
    backlog = Backlog(ledger)
    assert [backlog.depth("local.default") for _ in range(50)] == [3] * 50
    assert backlog.depth("local.other") == 0
    assert ledger.reads == 1


def test_an_unknown_queue_is_endless():
    ledger = FakeLedger()
    ledger.broken = True
    assert Backlog(ledger).depth("local.default") == float("inf")
