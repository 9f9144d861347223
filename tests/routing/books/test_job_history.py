"""The minutes of the last day: what workers count, and what the sweeper sees."""

from __future__ import annotations

import time

import pytest
import redis as redis_py

from forebay.routing.books.job_book import JobBook
from forebay.routing.books.job_counts import (
    JobGroup,
    audit_count,
    check_count,
    job_counts,
    of_all_tenants,
    up_count,
)
from forebay.routing.books.job_history import KEEP_S, MAX_QUEUES, History
from forebay.routing.errors import Unavailable
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put


@pytest.fixture
def history(redis):
    return History(redis)


@pytest.fixture
def book(redis):
    return JobBook(redis)


def local(number, **more):
    return job_counts(JobGroup("acme", "embed", "deny", "done", "local"), jobs=number, **more)


def present(history):
    """Return the minute just counted, and the other of the last two."""
    before, now = history.last(2)
    return (now, before) if now.counts else (before, now)  # the minute may have just ended


def test_counts_of_a_minute_add_up(history, book):
    book.add(local(2) | {up_count("acme", "embed", "verdict_hard"): 1})
    book.add(local(3, tokens_in=900))
    now, other = present(history)
    assert now.counts == {"local": 5, "up:verdict_hard": 1}
    assert (now.waiting, now.running, now.spent_nusd) == (None, 0, 0)
    assert other.counts == {}
    assert abs(now.start - other.start) == 60


def test_the_minute_and_the_hour_count_the_same_jobs(history, book):
    bedrock = JobGroup("beta", "generate", "allow", "done", "bedrock", "haiku", stand_in=True)
    book.add(
        local(4, degraded=2, cached=1)
        | job_counts(bedrock, jobs=3, nusd=9)
        | job_counts(JobGroup("beta", "embed", "deny", "failed"), jobs=1)
        | {audit_count("beta", "embed", agreed=True, stand_in=False): 7}
        | {check_count("beta", "embed", "schema"): 7}
    )
    now, _ = present(history)
    assert now.counts == {"local": 4, "degraded": 2, "cached": 1, "bedrock": 3, "failed": 1}
    hours = book.read(time.time() - 60, time.time())
    jobs = [count.number for count in hours if count.what == "job" and count.of[-1] == "jobs"]
    assert sum(jobs) == 8


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("doubtful", "up:doubtful"),
        ("check_failed:numbers", "up:check_failed"),
        ("<script>", "up:other"),
        ("", "up:other"),
    ],
)
def test_a_reason_that_is_not_known_has_no_name_of_its_own(reason, name):
    assert of_all_tenants({up_count("acme", "embed", reason): 2, "[]": 9}) == {name: 2}


def test_a_sample_says_what_waits_what_runs_and_what_was_spent(history, redis):
    ledger = Ledger(redis, Settings(), BELL)
    put(ledger, job(), job("beta"), job("beta"))
    claim = ledger.claim("route")
    redis.hset("fb:depth", mapping={"local.default": 4, "local.default:rows": 3})
    budget = Budget(redis)
    budget.reserve("call", claim.id, "acme", 700, term_s=60)
    budget.settle("call", 500)
    history.sample()
    minutes = [minute for minute in history.last(2) if minute.waiting is not None]
    assert len(minutes) == 1
    assert minutes[0].waiting == {"route": 2, "local.default": 7}, "a shard waits as one job"
    assert (minutes[0].running, minutes[0].spent_nusd) == (1, 500)


def test_a_minute_is_forgotten_after_a_day_and_names_few_queues(history, redis):
    redis.hset("fb:depth", mapping={f"local.p{n}": n for n in range(200)})
    history.sample()
    JobBook(redis).add(local(1))
    keys = redis.keys("fb:books:jobs:minute:*")
    assert 1 <= len(keys) <= 2
    assert all(0 < redis.ttl(key) <= KEEP_S for key in keys)
    assert max(redis.hlen(key) for key in keys) <= MAX_QUEUES + 3
    waiting = next(minute.waiting for minute in history.last(2) if minute.waiting)
    assert "local.p199" in waiting
    assert "local.p1" not in waiting


def test_without_redis_it_says_so():
    away = History(redis_py.Redis(port=1, retry=None))
    for call in (away.sample, lambda: away.last(1)):
        with pytest.raises(Unavailable):
            call()
