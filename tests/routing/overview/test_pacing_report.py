"""The pacing report: its state, overrides by hand, and faults that pacing survives."""

from __future__ import annotations

import random
import time

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.limits.pacing import Offer, Pacer
from forebay.routing.overview.pacing_report import PacingReport
from forebay.routing.policy.policy_file import Policy
from traffic import SCORES, Traffic, job, rules


@pytest.fixture
def traffic(redis) -> Traffic:
    return Traffic(redis)


# --- overrides -----------------------------------------------------------------------------------


def test_without_a_target_there_is_no_pace_but_jobs_are_counted(redis):
    pacer, rng = Pacer(redis, unpaced_every_s=0.1), random.Random(1)
    offered = [job(rng) for _ in range(5)]
    assert pacer.offer_all([Offer(each, Policy(), "before", 0.5) for each in offered]) == [None] * 5
    runs = _runs_of_scripts(redis)
    assert [pacer.offer(each, Policy(), "before", 0.5) for each in offered] == [None] * 5
    pacer.hard(job(rng), Policy())
    assert _runs_of_scripts(redis) == runs + 1  # that of the answer that failed its checks
    time.sleep(0.11)
    pacer.offer(job(rng), Policy(), "before", 0.5)
    (line,) = PacingReport(redis).account("acme").lines
    assert (line.kind, line.stage, line.seen, line.went) == ("classify", "before", 11, None)


def test_an_override_is_noticed_where_no_target_is_set(redis):
    pacer, rng = Pacer(redis, unpaced_every_s=0.1), random.Random(1)
    assert pacer.offer(job(rng), Policy(), "before", 0.5) is None
    PacingReport(redis).override("classify", "threshold", 0.4, 60)
    time.sleep(0.11)
    assert pacer.offer(job(rng), Policy(), "before", 0.5).go
    assert pacer.offer(job(rng), Policy(), "before", 0.5).go


def test_the_share_of_failed_answers_is_right_although_few_are_reported(redis):
    pacer, rng = Pacer(redis, unpaced_every_s=0.05), random.Random(1)
    for _ in range(4):
        for i in range(200):
            answered = job(rng)
            if i % 4 == 0:
                pacer.hard(answered, Policy())
            else:
                pacer.offer(answered, Policy(), "after", 0.5)
        time.sleep(0.06)
    pacer.hard(job(rng), Policy())
    pacer.offer(job(rng), Policy(), "after", 0.5)
    assert PacingReport(redis).account("acme").hard == pytest.approx(0.25, abs=0.1)


def _runs_of_scripts(redis) -> int:
    return redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


def test_an_overridden_threshold_holds_until_it_ends(redis, traffic):
    report, policy = PacingReport(redis), rules(share=0.5)
    report.override("classify", "threshold", 0.9, 60)
    went = [traffic.pacer.offer(job(traffic.rng), policy, "before", s).go for s in (0.1, 0.9, 1)]
    assert went == [False, True, True]
    report.override("classify", "threshold", 2.0, 60, tenant="acme")
    assert not traffic.pacer.offer(job(traffic.rng), policy, "before", 1.0).go
    (line, _) = report.account("acme").lines
    assert (line.override.value, line.override.tenant) == (2.0, "acme")
    assert 0 < line.override.ends_in_s <= 60
    assert report.clear("classify", tenant="acme")
    assert report.clear("classify")
    assert not report.clear("classify")
    assert traffic.send(policy, 300, SCORES["even"]) == pytest.approx(0.5, abs=0.02)


def test_an_overridden_share_is_not_paid_for_by_other_kinds(redis, traffic):
    PacingReport(redis).override("summarize", "share", 0.8, 60)
    policy = rules(share=0.1)
    assert traffic.send(policy, 300, SCORES["even"], kind="summarize") == pytest.approx(
        0.8, abs=0.02
    )
    assert traffic.send(policy, 300, SCORES["even"], kind="classify") == pytest.approx(
        0.1, abs=0.02
    )
    assert PacingReport(redis).account("acme").went == pytest.approx(0.1, abs=0.02)


def test_the_override_off_brings_back_the_thresholds(redis, traffic):
    PacingReport(redis).override("classify", "off", None, 60)
    assert traffic.pacer.offer(job(traffic.rng), rules(share=0.5), "before", 0.5) is None


# --- faults --------------------------------------------------------------------------------------


def test_without_redis_the_thresholds_apply():
    with redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0)) as unreachable:
        pacer = Pacer(unreachable)
        assert pacer.offer(job(random.Random(1)), rules(share=0.5), "before", 0.5) is None
        pacer.hard(job(random.Random(1)), rules(usd_per_day=1.0))


@pytest.mark.parametrize("key", ["tenants", "tenant:acme", "scores:acme:classify:before"])
def test_a_key_of_a_wrong_type_changes_nothing_and_the_thresholds_apply(redis, traffic, key):
    redis.lpush(f"fb:pace:{key}", "not ours")
    before = {name: redis.dump(name) for name in redis.keys()}
    assert traffic.pacer.offer(job(traffic.rng), rules(share=0.5), "before", 0.5) is None
    assert {name: redis.dump(name) for name in redis.keys()} == before


def test_the_state_is_bounded_and_expires(redis, traffic):
    traffic.send(rules(share=0.2), 400, SCORES["even"])
    assert redis.zcard("fb:pace:scores:acme:classify:before") <= 128
    keys = [key for key in redis.keys() if key != b"fb:pace:tenants"]
    assert all(0 < redis.ttl(key) <= 8 * 86_400 for key in keys)
    redis.zadd("fb:pace:tenants", {"gone": 1})
    traffic.send(rules(share=0.2), 1, SCORES["even"])
    assert PacingReport(redis).tenants() == ["acme"]
