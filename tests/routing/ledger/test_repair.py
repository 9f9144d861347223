"""The walk over all records restores whatever leads to a job, however it was damaged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL, SURE, answer, job, put, walk
from patience import until

QUEUES = ("route", "local.default", "bedrock", "embed")
#: Keys that are the job itself. All others lead to it or count it, and can be made again.
OWN = ("fb:job:", "fb:content:", "fb:answer:", "fb:draft:")


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(lease_s=1000), BELL)


# --- one job in each place, one damage ------------------------------------------------------------


def waiting(ledger, **options):
    return put(ledger, job(**options))[0]


def running(ledger, **options):
    waiting(ledger, **options)
    return ledger.claim("route").id


def delayed(ledger, **options):
    waiting(ledger, **options)
    claim = ledger.claim("route")
    ledger.retry(claim, "unavailable", delay_s=1000)
    return claim.id


def moved(queue):
    def move(ledger, **options):
        waiting(ledger, egress="allow", **options)
        claim = ledger.claim("route")
        ledger.route(claim, queue, "allow", "r", SURE)
        return claim.id

    return move


PLACES = {"waiting": waiting, "running": running, "delayed": delayed} | {
    queue: moved(queue) for queue in QUEUES[1:]
}
SOON = {"deadline": datetime.now(UTC) + timedelta(days=900)}


def index_of(redis, job_id: str) -> list[str]:
    """Return the sorted sets that lead to a job."""
    keys = ["fb:leases", "fb:later", *map(bytes.decode, redis.keys("fb:waiting:*"))]
    return [key for key in keys if redis.zscore(key, job_id) is not None]


def test_a_lease_from_before_the_clock_was_set_back_ends_in_time(ledger, redis):
    job_id, day_ms = running(ledger), 86_400_000
    redis.zincrby("fb:leases", day_ms, job_id)
    lease = redis.zscore("fb:leases", job_id)
    assert walk(ledger) == 1
    assert redis.zscore("fb:leases", job_id) < lease - day_ms / 2
    assert walk(ledger) == 0


def test_a_retry_from_before_the_clock_was_set_back_comes_as_soon_as_it_was_to(ledger, redis):
    job_id, day_ms = delayed(ledger), 86_400_000
    redis.zincrby("fb:later", day_ms, job_id)
    redis.hincrby(f"fb:job:{job_id}", "queued", day_ms)
    assert walk(ledger) == 1
    wait_s = redis.zscore("fb:later", job_id) / 1000 - redis.time()[0]
    assert 900 < wait_s < 1001
    assert walk(ledger) == 0


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
@pytest.mark.parametrize("place", PLACES)
def test_the_entry_of_a_job_in_its_index_comes_back(ledger, redis, place, priority):
    job_id = PLACES[place](ledger, priority=priority)
    [index] = index_of(redis, job_id)
    redis.zrem(index, job_id)
    assert walk(ledger) == 1
    # The time of a delayed job's retry is lost with its entry, so it waits for a claim at once.
    expected = f"fb:waiting:route:{priority}:acme" if place == "delayed" else index
    assert index_of(redis, job_id) == [expected]
    assert walk(ledger) == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("score", [None, 0, 1, 10**15, "inf", "-inf"])
def test_the_deadline_of_a_job_comes_back(ledger, redis, place, score):
    job_id = PLACES[place](ledger, **SOON)
    deadline = redis.zscore("fb:deadlines:acme", job_id)
    redis.zrem("fb:deadlines:acme", job_id)
    if score is not None:
        redis.zadd("fb:deadlines:acme", {job_id: score})
    assert walk(ledger) == 1
    assert redis.zscore("fb:deadlines:acme", job_id) == deadline
    assert walk(ledger) == 0


@pytest.mark.parametrize("key", ["fb:turn:{}", "fb:newcomers:{}"])
@pytest.mark.parametrize("queue", QUEUES)
def test_a_tenant_that_was_left_out_gets_its_turn(ledger, redis, queue, key):
    moved(queue)(ledger) if queue != "route" else waiting(ledger)
    ledger.sweep()
    for place in (f"{queue}:interactive", f"{queue}:bulk"):
        redis.delete(f"fb:turn:{place}", f"fb:newcomers:{place}", "fb:tenants", "fb:queues")
    assert ledger.claim(queue) is None
    walk(ledger)
    assert ledger.claim(queue)


def test_a_doorbell_and_a_depth_come_back(ledger, redis, monkeypatch):
    waiting(ledger)
    moved("local.default")(ledger)
    redis.delete("route", "local.default", "fb:depth", "fb:queues", "fb:quiet")
    walk(ledger)
    ledger.sweep()
    redis.hset("fb:quiet", mapping={f"{queue} at": 0 for queue in ("route", "local.default")})
    ledger.sweep()
    assert ledger.depths() == {"route": 1, "local.default": 1}
    assert (redis.llen("route"), redis.llen("local.default")) == (1, 1)


def test_a_record_that_names_a_pool_nobody_knows_goes_to_the_router(ledger, redis):
    job_id = waiting(ledger)
    redis.zrem("fb:waiting:route:interactive:acme", job_id)
    redis.hset(f"fb:job:{job_id}", "queue", "local.nobody")
    assert walk(ledger) == 1
    assert ledger.claim("route").id == job_id


def test_a_job_that_has_ended_is_not_brought_back(ledger, redis):
    ended = waiting(ledger, **SOON)
    ledger.cancel(ended)
    assert walk(ledger) == 0
    assert not redis.exists("fb:deadlines:acme", "fb:leases", "fb:waiting:route:interactive:acme")


def test_a_key_of_the_wrong_type_stops_the_repair_of_its_jobs_only(ledger, redis):
    stuck, fine = put(ledger, job("a"), job("b"))
    redis.delete("fb:waiting:route:interactive:a", "fb:waiting:route:interactive:b")
    redis.set("fb:waiting:route:interactive:a", "not a queue")
    assert walk(ledger) == 1
    assert index_of_b(redis) == [fine]
    redis.delete("fb:waiting:route:interactive:a")
    assert walk(ledger) == 1
    assert ledger.status(stuck).position is not None


def index_of_b(redis) -> list[str]:
    return [one.decode() for one in redis.zrange("fb:waiting:route:interactive:b", 0, -1)]


# --- any jobs, any damage -------------------------------------------------------------------------


@hypothesis_settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_lost_beside_the_records_every_job_ends(redis_url, data):
    import redis as redis_py  # noqa: PLC0415 - the fixture `redis` would be one for all examples

    with redis_py.Redis.from_url(redis_url) as redis:
        redis.flushall()
        ledger = Ledger(redis, Settings(lease_s=1000, max_attempts=100), BELL)
        drawn = data.draw(st.lists(JOBS, max_size=8))
        ids = [  # those that wait come last: no other claims them
            PLACES[place](ledger, tenant=tenant, priority=priority, **deadline)
            for place, tenant, priority, deadline in sorted(
                drawn, key=lambda one: one[0] == "waiting"
            )
        ]
        _damage(redis, data)
        walk(ledger)
        _let_time_pass(redis)
        ledger.sweep()
        _work(ledger)
        assert [ledger.record(job_id).state for job_id in ids] == ["done"] * len(ids)
        assert not redis.exists("fb:leases", "fb:later")
        assert not redis.keys("fb:deadlines*")
        walk(ledger)
        ledger.sweep()
        assert sum(ledger.depths().values()) == 0
        assert not redis.keys("fb:promised:*")


JOBS = st.tuples(
    st.sampled_from(sorted(PLACES)), st.sampled_from(["a", "b"]),
    st.sampled_from(["interactive", "bulk"]), st.sampled_from([{}, SOON]),
)  # fmt: skip


def _damage(redis, data) -> None:
    """Delete any keys that are no job, any of their entries, or all of them."""
    keys = sorted(key for key in map(bytes.decode, redis.keys("*")) if not key.startswith(OWN))
    entries = [
        (key, member)
        for key in keys
        if redis.type(key) == b"zset"
        for member in redis.zrange(key, 0, -1)
    ]
    if keys:
        for key in data.draw(st.just(keys) | st.lists(st.sampled_from(keys))):
            redis.delete(key)
    for key, member in data.draw(st.lists(st.sampled_from(entries)) if entries else st.just([])):
        redis.zrem(key, member)


def _let_time_pass(redis) -> None:
    """Let all leases run out, and all retries be due."""
    for key in ("fb:leases", "fb:later"):
        for member in redis.zrange(key, 0, -1):
            redis.zadd(key, {member: 1})


def _work(ledger) -> None:
    """Answer every job that can be claimed."""
    for queue in QUEUES:
        while claim := ledger.claim(queue):
            ledger.settle(claim, answer(claim))


def test_no_count_stays_of_a_tenant_whose_jobs_have_gone(redis):
    """Nor if no worker and no sweep has ever seen the tenant: its job was cancelled at once."""
    ledger = Ledger(redis, Settings(retention_s=0.05), BELL)
    job_id = put(ledger, job())[0]
    ledger.cancel(job_id)
    assert redis.exists("fb:held:acme")
    until(lambda: not redis.exists(f"fb:job:{job_id}"))
    walk(ledger)
    assert redis.keys("fb:*acme*") == []
    assert not redis.hexists("fb:tenants", "acme")
