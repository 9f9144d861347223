"""The minutes of the last day: what workers count, and what the sweeper sees."""

from __future__ import annotations

import pytest
import redis as redis_py

from forebay.routing.errors import Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.overview.history import KEEP_S, MAX_QUEUES, History
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put


@pytest.fixture
def history(redis):
    return History(redis)


def test_counts_of_a_minute_add_up(history):
    history.add({"local": 2, "up:verdict_hard": 1})
    history.add({"local": 3})
    before, now = history.last(2)
    if not now.counts:  # the minute has just ended
        before, now = now, before
    assert now.counts == {"local": 5, "up:verdict_hard": 1}
    assert (now.waiting, now.running, now.spent_nusd) == (None, 0, 0)
    assert before.counts == {}
    assert abs(now.start - before.start) == 60


def test_a_sample_says_what_waits_what_runs_and_what_was_spent(history, redis):
    ledger = Ledger(redis, Settings(), BELL)
    put(ledger, job(), job("beta"), job("beta"))
    claim = ledger.claim("route")
    redis.hset("fb:depth", "local.default:rows", 4)
    budget = Budget(redis)
    budget.reserve(
        "call", claim.id, "acme", 700, tenant_budget_nusd=None, fleet_budget_nusd=None, term_s=60
    )
    budget.settle("call", 500)
    history.sample()
    minutes = [minute for minute in history.last(2) if minute.waiting is not None]
    assert len(minutes) == 1
    assert minutes[0].waiting == {"route": 2, "local.default": 4}
    assert (minutes[0].running, minutes[0].spent_nusd) == (1, 500)


def test_a_minute_is_forgotten_after_a_day_and_names_few_queues(history, redis):
    redis.hset("fb:depth", mapping={f"local.p{n}": n for n in range(200)})
    history.sample()
    history.add({"local": 1})
    keys = redis.keys("fb:history:*")
    assert 1 <= len(keys) <= 2
    assert all(0 < redis.ttl(key) <= KEEP_S for key in keys)
    assert max(redis.hlen(key) for key in keys) <= MAX_QUEUES + 3
    waiting = next(minute.waiting for minute in history.last(2) if minute.waiting)
    assert "local.p199" in waiting
    assert "local.p1" not in waiting


def test_without_redis_it_says_so():
    away = History(redis_py.Redis(port=1, retry=None))
    for call in (lambda: away.add({"local": 1}), away.sample, lambda: away.last(1)):
        with pytest.raises(Unavailable):
            call()
