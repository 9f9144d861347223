"""The loop that renews claims: what was lost is noticed soon, and nothing is renewed too often."""

from __future__ import annotations

import threading
import time

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.runtime.claims import leases
from forebay.workers.runtime.claims.leases import Leases
from ledger_jobs import BELL, job, put


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=60), BELL)


@pytest.fixture
def holding(ledger):
    held = Leases(ledger)
    yield held
    held.close()


def test_a_cancelled_job_is_noticed_long_before_its_lease_is_renewed(ledger, holding):
    mine, other = put(ledger, job(), job())
    lost = {job_id: threading.Event() for job_id in (mine, other)}
    claims = [ledger.claim("route"), ledger.claim("route")]
    with (
        holding.holding(claims[0], lost[claims[0].id].set),
        holding.holding(claims[1], lost[claims[1].id].set),
    ):
        assert ledger.cancel(mine)
        assert lost[mine].wait(10 * leases.NOTICE_S)
        assert not lost[other].is_set()


def test_a_look_writes_nothing_and_a_lease_is_renewed_in_time(ledger, redis, holding):
    (mine,) = put(ledger, job())
    claim = ledger.claim("route")
    with holding.holding(claim, lambda: None):
        holding._renewed = time.monotonic()
        ends = redis.zscore("fb:leases", mine)
        holding._let_lost_go()
        assert redis.zscore("fb:leases", mine) == ends
        holding._renewed -= 20
        redis.zadd("fb:leases", {mine: 1})
        holding._let_lost_go()
        assert redis.zscore("fb:leases", mine) >= ends


def test_claims_that_are_released_together_are_not_looked_at_again(ledger, holding):
    jobs, lost = put(ledger, job(), job(), job()), []
    claims = [ledger.claim("route") for _ in jobs]
    for claim in claims:
        holding.hold(claim, lambda claim=claim: lost.append(claim.id))
    holding.release(claims[:2])
    holding.release(claims[:2])  # a second time does nothing
    for each in jobs:
        ledger.cancel(each)
    holding._let_lost_go()
    assert lost == [claims[2].id]
