"""An operator finds the jobs of all tenants by filters, within a bound."""

from __future__ import annotations

import pytest
import redis as redis_py

from forebay.routing.errors import Misconfigured, Throttled
from forebay.routing.jobs import Classify, Job, Label, Receipt, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.overview import all_jobs
from forebay.routing.overview.all_jobs import AllJobs
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.recovered import leases_recovered
from forebay.routing.settings import Settings
from ledger_jobs import BELL
from patience import until

LABELS = [Label(name="a"), Label(name="b")]


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=0.2), BELL)


@pytest.fixture
def every(ledger):
    return AllJobs(ledger)


def submit(ledger, tenant="acme", request=None) -> str:
    (job_id,) = ledger.create([Job(tenant=tenant, request=request or Summarize(text="t"))])
    return job_id


def kill(ledger, tenant="acme", code="bad_answer", request=None) -> str:
    submit(ledger, tenant, request)
    claim = ledger.claim("route")
    ledger.settle(claim, Receipt(**claim.record.heading(), status="failed", error=code))
    return claim.id


def ids(found) -> set[str]:
    return {record.id for record in found.records}


def test_each_filter_chooses_the_jobs_that_it_names(ledger, every):
    dead, other = kill(ledger), kill(ledger, "beta", "too_long")
    running = submit(ledger, "beta", Classify(text="t", labels=LABELS))
    ledger.claim("route")
    waiting = submit(ledger)
    wanted = {
        JobFilter(): {dead, other, running, waiting},
        JobFilter(tenant="beta"): {other, running},
        JobFilter(kind="classify"): {running},
        JobFilter(code="too_long"): {other},
        JobFilter(queue="route"): {dead, other, running, waiting},
        JobFilter(queue="bedrock"): set(),
        JobFilter(states=frozenset({"running"})): {running},
        JobFilter(states=frozenset({"waiting", "failed"})): {dead, other, waiting},
        JobFilter(older_s=60): set(),
        JobFilter(newer_s=60, tenant="acme"): {dead, waiting},
    }
    assert {one: ids(every.find(one)) for one in wanted} == wanted


def test_the_age_of_a_job_that_ended_counts_from_its_end(ledger, every, redis):
    job_id = kill(ledger)
    ended = int(redis.hget(f"fb:job:{job_id}", "ended"))
    redis.hset(f"fb:job:{job_id}", "created", ended - 3_600_000)
    assert ids(every.find(JobFilter(older_s=1_800))) == set()
    redis.hset(f"fb:job:{job_id}", "ended", ended - 3_600_000)
    assert ids(every.find(JobFilter(older_s=1_800))) == {job_id}


def test_a_search_returns_the_newest_and_counts_all(ledger, every, redis):
    made = [kill(ledger, tenant) for tenant in ("acme", "beta") * 4]
    for age, job_id in enumerate(made):
        redis.hincrby(f"fb:job:{job_id}", "ended", -1000 * age)
    found = every.find_dead(JobFilter(), limit=3)
    assert [record.id for record in found.records] == made[:3]
    assert dict(found.counts) == {
        ("acme", "summarize", "bad_answer"): 4, ("beta", "summarize", "bad_answer"): 4,
    }  # fmt: skip
    assert found.complete


@pytest.mark.parametrize("search", ["find", "find_dead"])
def test_a_search_ends_at_its_bound_and_says_so(ledger, every, search, monkeypatch):
    monkeypatch.setattr(all_jobs, "RECORDS_PER_READ", 2)
    for _ in range(5):
        kill(ledger)
    found = getattr(every, search)(JobFilter(), look_at=3)
    assert (found.looked_at, found.counts.total(), found.complete) == (3, 3, False)
    found = getattr(every, search)(JobFilter(), look_at=5)
    assert (found.looked_at, found.counts.total(), found.complete) == (5, 5, True)


def test_a_replayed_job_is_no_longer_among_the_dead_and_a_damaged_record_is_left_out(
    ledger, every, redis
):
    kept, replayed, damaged = kill(ledger), kill(ledger), kill(ledger)
    redis.zrem("fb:dead:acme", replayed)
    redis.hset(f"fb:job:{damaged}", "attempts", "many")
    assert ids(every.find_dead(JobFilter())) == {kept}
    assert ids(every.find_dead(JobFilter(tenant="acme"))) == {kept}
    assert ids(every.find_dead(JobFilter(tenant="beta"))) == set()


def test_a_user_of_one_tenant_is_told_that_all_tenants_need_the_operator(ledger, redis, redis_url):
    job_id = kill(ledger)
    ledger.load_scripts()
    rules = ["on", ">pw", "~fb:job:acme.*", "~fb:dead:acme", "+hlen", "+hgetall", "+zrevrange",
             "+time", "+evalsha", "+memory|usage"]  # fmt: skip
    redis.execute_command("ACL", "SETUSER", "tenant", *rules)
    try:
        with redis_py.Redis.from_url(redis_url.replace("://", "://tenant:pw@")) as weak:
            mine = AllJobs(LedgerReader(weak, Settings()))
            with pytest.raises(Misconfigured, match="the operator's user of Redis; --tenant names"):
                mine.find_dead(JobFilter())
            assert ids(mine.find_dead(JobFilter(tenant="acme"))) == {job_id}
    finally:
        redis.acl_deluser("tenant")


def test_leases_that_ran_out_are_counted_by_the_hour(ledger, redis):
    submit(ledger)
    ledger.claim("route")
    until(lambda: ledger.sweep().back)
    assert leases_recovered(redis) == 1
    seconds, _ = redis.time()
    redis.hset("fb:recovered", seconds // 60 - 61, 7)
    assert leases_recovered(redis) == 1
    assert leases_recovered(redis, 7_100) == 8
    redis.hset("fb:recovered", seconds // 60 - 121, 7)
    ledger.claim("route")
    until(lambda: ledger.sweep().back)
    assert leases_recovered(redis) == 2
    assert redis.hlen("fb:recovered") <= 3  # of two hours at most
    assert redis.pttl("fb:recovered") > 0


def test_a_retry_is_no_lease_that_ran_out(ledger, redis):
    submit(ledger)
    ledger.retry(ledger.claim("route"), Throttled.code)
    ledger.sweep()
    assert leases_recovered(redis) == 0
