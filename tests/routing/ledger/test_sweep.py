"""A sweep gives lost jobs back, ends overdue ones, and rings for those without a doorbell."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2, max_attempts=3), BELL)


def test_a_renewed_lease_is_not_swept(ledger):
    put(ledger, job())
    claim = ledger.claim("route")
    for _ in range(3):
        time.sleep(0.1)
        assert ledger.renew([claim]) == []
        assert ledger.sweep().back == 0


def test_a_job_whose_workers_keep_dying_is_dead_after_its_attempts(ledger):
    (job_id,) = put(ledger, job())
    for _ in range(3):
        assert ledger.claim("route").id == job_id
        time.sleep(0.22)
        ledger.sweep()
    status = ledger.status(job_id)
    assert (status.state, status.receipt.error) == ("failed", "engine_died")
    assert ledger.claim("route") is None


def test_the_sweeper_ends_a_running_job_past_its_deadline(ledger):
    (job_id,) = put(ledger, job(deadline=datetime.now(UTC) + timedelta(seconds=0.05)))
    claim = ledger.claim("route")
    time.sleep(0.06)
    assert ledger.sweep().expired == 1
    assert ledger.renew([claim]) == [claim]
    assert ledger.status(job_id).receipt.status == "expired"


def test_a_lost_doorbell_is_rung_again_after_two_sweeps(ledger, redis):
    put(ledger, job(), job())
    redis.delete("route")
    assert ledger.sweep().rung == 0
    time.sleep(0.5)
    assert ledger.sweep().rung == 2
    assert redis.llen("route") == 2
    time.sleep(0.5)
    assert ledger.sweep().rung == 0


def test_a_lost_doorbell_is_rung_again_also_if_the_clock_was_set_back(ledger, redis):
    put(ledger, job())
    redis.delete("route")
    assert ledger.sweep().rung == 0
    redis.hincrby("fb:quiet", "route at", 86_400_000)
    assert ledger.sweep().rung == 1


def test_the_deadlines_of_a_tenant_are_of_no_job_of_another(ledger, redis):
    later = datetime.now(UTC) + timedelta(days=1)
    own, other = put(ledger, job(deadline=later), job(tenant="globex", deadline=later))
    deadline = redis.zscore("fb:deadlines:globex", other)
    redis.zadd("fb:deadlines:acme", {own: 1, other: 1})
    ledger.claim("route")  # the tenants are known now
    ledger.sweep()
    assert redis.zscore("fb:deadlines:acme", own) > 1
    assert redis.zscore("fb:deadlines:acme", other) is None
    assert redis.zscore("fb:deadlines:globex", other) == deadline
    assert ledger.status(other).state != "expired"
