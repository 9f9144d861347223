"""A claim takes the best job by class, by tenant, by deadline, and by age."""

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


def test_interactive_goes_before_bulk(ledger):
    bulk, interactive = job(priority="bulk"), job()
    put(ledger, bulk, interactive)
    assert [ledger.claim("route").id for _ in range(2)] == [interactive.id, bulk.id]


def test_bulk_that_has_waited_too_long_gets_its_share_of_claims(redis):
    ledger = Ledger(redis, Settings(ageing_s=0.001, bulk_share=4), BELL)
    put(ledger, *(job(priority="bulk") for _ in range(10)))
    put(ledger, *(job() for _ in range(20)))
    time.sleep(0.01)
    kinds = [ledger.claim("route").job().priority for _ in range(16)]
    assert kinds.count("bulk") == 4


def test_the_earliest_deadline_goes_first_and_then_the_oldest_job(ledger):
    now = datetime.now(UTC)
    first, second = job(), job()
    late = job(deadline=now + timedelta(minutes=20))
    soon = job(deadline=now + timedelta(minutes=10))
    put(ledger, first, second, late, soon)
    claimed = [ledger.claim("route").id for _ in range(4)]
    assert claimed == [soon.id, late.id, first.id, second.id]


def test_tenants_share_the_claims_however_much_one_of_them_submits(ledger):
    put(ledger, *(job("greedy") for _ in range(50)))
    for _ in range(5):
        ledger.claim("route")
    put(ledger, *(job("modest") for _ in range(5)))
    served = [ledger.claim("route").id.partition(".")[0] for _ in range(10)]
    assert served.count("modest") == 5


def test_a_tenant_with_one_job_at_a_time_does_not_starve_one_with_many(ledger):
    put(ledger, *(job("heavy") for _ in range(40)))
    put(ledger, job("light"))
    served = []
    for _ in range(30):
        served.append(ledger.claim("route").id.partition(".")[0])
        if served[-1] == "light":
            put(ledger, job("light"))
    assert 10 <= served.count("light") <= 16


def test_a_job_that_is_given_back_keeps_its_place(ledger):
    first, *others = put(ledger, *(job() for _ in range(5)))
    ledger.retry(ledger.claim("route"), "unavailable")
    assert ledger.status(first).position == 0
    assert ledger.claim("route").id == first
    assert ledger.claim("route").id == others[0]


def test_bulk_ages_as_a_class_even_behind_a_stream_of_urgent_bulk(redis):
    ledger = Ledger(redis, Settings(ageing_s=0.05, bulk_share=2), BELL)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    put(ledger, job(priority="bulk"), *(job() for _ in range(20)))
    time.sleep(0.06)
    kinds = []
    for _ in range(8):
        put(ledger, job(priority="bulk", deadline=soon))  # always a fresh one at the head
        kinds.append(ledger.claim("route").job().priority)
    assert kinds.count("bulk") == 4
