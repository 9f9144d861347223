"""The oldest waiting job of each queue and class is found whatever order the jobs wait in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forebay.routing.jobs import Job, Summarize
from forebay.routing.overview import waiting
from forebay.routing.overview.waiting import JOB_CLASSES, WaitingJobs
from shards import put, shard


def submit(ledger, *, age_s: float = 0.0, **options) -> str:
    """Create a job that was submitted some time ago."""
    (job_id,) = ledger.create([Job(request=Summarize(text="t"), **options)])
    tenant, priority = job_id.partition(".")[0], options.get("priority", "interactive")
    key, index = f"fb:job:{job_id}", f"fb:waiting:route:{priority}:{tenant}"
    ledger.redis.hincrby(key, "created", -int(age_s * 1000))
    if "deadline" not in options:
        ledger.redis.zincrby(index, -age_s * 1e6, job_id)
    return job_id


def test_shards_are_a_class_of_their_queue_and_no_queue_of_their_own(ledger, redis):
    submit(ledger)
    made = shard("a", "b")
    put(ledger, made, shard("c", tenant="beta"))
    redis.hincrby(f"fb:job:{made.id}", "created", -40_000)
    assert lines(redis) == {("route", "interactive"): (1, 0), ("route", "shards"): (2, 40)}
    assert {line.priority for line in WaitingJobs(redis).lines(JOB_CLASSES)} == {*JOB_CLASSES}


def lines(redis) -> dict[tuple[str, str], tuple[int, int]]:
    """Return depth and age of the classes in which jobs wait."""
    return {
        (line.queue, line.priority): (line.depth, round(line.oldest_s))
        for line in WaitingJobs(redis).lines()
        if line.depth
    }


def test_nothing_waits(redis):
    assert lines(redis) == {}


def test_depth_and_age_by_queue_and_class_over_all_tenants(ledger, redis):
    submit(ledger, age_s=100)
    submit(ledger, age_s=300, tenant="acme")
    submit(ledger, age_s=50, priority="bulk")
    assert lines(redis) == {("route", "interactive"): (2, 300), ("route", "bulk"): (1, 50)}
    for _ in range(2):
        ledger.claim("route")
    assert ("route", "interactive") not in lines(redis)
    assert lines(redis)["route", "bulk"] == (1, 50)


def test_an_old_job_behind_many_with_a_deadline_is_found(ledger, redis, monkeypatch):
    monkeypatch.setattr(waiting, "JOBS_PER_READ", 5)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    for _ in range(12):
        submit(ledger, deadline=soon)
    submit(ledger, age_s=600)
    assert lines(redis)["route", "interactive"] == (13, 600)


def test_the_search_stops_where_no_later_job_can_be_older(ledger, redis, monkeypatch):
    monkeypatch.setattr(waiting, "JOBS_PER_READ", 5)
    for age_s in range(100, 70, -1):
        submit(ledger, age_s=age_s)
    redis.config_resetstat()
    assert lines(redis)["route", "interactive"] == (30, 100)
    turns, pages = 3, 2  # of seven pages
    assert redis.info("commandstats")["cmdstat_zrange"]["calls"] == turns + pages
