"""A worker whose jobs end within moments takes the job of a newcomer beside a long queue."""

from __future__ import annotations

import threading

import pytest

from forebay.routing.ledger.claim import Selection
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.lanes.published_lanes import PublishedLanes
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.workers.runtime.claims import right_of_way as module
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.claims.reserve import Reserve, ReserveTerms
from forebay.workers.runtime.claims.right_of_way import right_of_way
from ledger_jobs import BELL, job, put
from patience import until

QUEUE = "local.default"
INTERACTIVE = ReserveTerms(2, interactive=True)


@pytest.fixture
def ledger(redis):
    PublishedLanes(redis, PolicyFile(None)).publish()
    return Ledger(redis, Settings(), BELL)


@pytest.fixture
def in_flight(ledger, monkeypatch):
    """Return what a worker holds that works eight jobs of a long queue, and ends them soon."""
    monkeypatch.setattr(InFlight, "quick", True)
    in_flight = InFlight(18)
    put(ledger, *(job("busy") for _ in range(30)))
    in_flight.hold(ledger.claim_many(QUEUE, 8))
    yield in_flight
    in_flight.closed = True


@pytest.fixture
def start(ledger, in_flight):
    """Return what starts the reserve of that worker; it returns the tenants of the jobs begun."""

    def make() -> list[str]:
        begun: list[str] = []

        def work(claim) -> None:
            begun.append(claim.tenant)

        Reserve(INTERACTIVE, in_flight, ledger, lambda: [QUEUE], work).start()
        return begun

    return make


def test_the_job_of_a_newcomer_is_begun_at_once_and_no_other(ledger, start):
    begun = start()
    put(ledger, job("few"))
    until(lambda: begun == ["few"])
    put(ledger, job("few"), job("few"))
    put(ledger, job("third"))
    until(lambda: begun == ["few", "few", "third"])


def test_a_tenant_with_many_jobs_in_work_waits_for_its_turn(ledger, in_flight, start):
    put(ledger, *(job("second") for _ in range(4)))
    in_flight.hold(ledger.claim_many(QUEUE, 4, selection=Selection(passed_over={"busy"})))
    begun = start()
    put(ledger, job("second"))
    put(ledger, job("third"))
    until(lambda: begun)
    assert begun == ["third"]


def test_a_drained_worker_takes_no_newcomer(ledger, redis, in_flight, start):
    in_flight.drained = True
    start()
    (first, *_) = [put(ledger, job(tenant))[0] for tenant in ("few", "third")]
    until(lambda: redis.llen(f"fb:express:{QUEUE}") == 0)
    assert ledger.record(first).state == "waiting"


def test_the_other_threads_wait_while_the_job_of_a_newcomer_is_claimed(ledger, start, monkeypatch):
    monkeypatch.setattr(module, "MOST_S", 30.0)
    returned, waited, claim = threading.Event(), [], ledger.claim

    def claim_beside_another(*args, **options):
        threading.Thread(target=lambda: (right_of_way.give_way(), returned.set())).start()
        waited.append(not returned.wait(0.05))
        return claim(*args, **options)

    monkeypatch.setattr(ledger, "claim", claim_beside_another)
    begun = start()
    put(ledger, job("few"))
    until(lambda: begun == ["few"] and returned.is_set())
    assert waited == [True]
