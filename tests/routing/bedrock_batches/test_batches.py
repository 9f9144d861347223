"""A batch moves on by one state at a time, and only for whoever knows where it was."""

import time

import pytest

from forebay.routing.bedrock_batches.batches import BedrockBatches
from forebay.routing.bedrock_batches.groups import WaitingGroups, group_name
from forebay.routing.errors import EgressDenied, Lost
from forebay.routing.jobs import Generate, Job, Message
from ledger_jobs import BELL

GROUP = "acme m"


@pytest.fixture
def batches(redis):
    return BedrockBatches(redis)


@pytest.fixture
def groups(redis):
    return WaitingGroups(redis)


@pytest.fixture
def deferred(ledger, groups):
    """Return what has new jobs wait in the group."""

    def defer(count):
        claims = [claimed(ledger) for _ in range(count)]
        for claim in claims:
            time.sleep(0.002)  # the group's order is by milliseconds
            groups.defer(claim, GROUP, 60)
        return [claim.id for claim in claims]

    return defer


def claimed(ledger):
    request = Generate(messages=[Message(role="user", content="hello")])
    ledger.create([Job(tenant="acme", egress="allow", priority="bulk", request=request)])
    ledger.route(ledger.claim("route"), "bedrock", "allow", "verdict_hard", None)
    return ledger.claim("bedrock")


def test_a_deferred_job_waits_without_a_lease_and_counts_no_attempt(redis, ledger, deferred):
    (job,) = deferred(1)
    record = ledger.record(job)
    assert (record.state, record.batch, record.attempts) == ("waiting", "waiting", 0)
    assert redis.zcard("fb:leases") == 0
    assert redis.zscore("fb:later", job) is not None
    assert ledger.claim("bedrock") is None


def test_only_who_holds_a_job_that_may_leave_defers_it(redis, ledger, groups):
    claim = claimed(ledger)
    redis.hset(f"fb:job:{claim.id}", "egress", "deny")
    with pytest.raises(EgressDenied):
        groups.defer(claim, GROUP, 60)
    ledger.cancel(claim.id)
    with pytest.raises(Lost):
        groups.defer(claim, GROUP, 60)
    assert groups.all() == []


def test_the_jobs_that_waited_longest_board_first_and_no_more_than_fit(batches, groups, deferred):
    jobs = deferred(5)
    assert batches.board("b1", GROUP, {"model": "m"}, most=3, hold_s=60) == 3
    assert sorted(batches.jobs("b1").values()) == sorted(jobs[:3])
    assert sorted(batches.jobs("b1")) == [f"R{i:010d}" for i in range(3)]
    assert groups.jobs(GROUP, 10) == jobs[3:]
    assert batches.is_awaited("b1", jobs)
    assert not batches.is_awaited("b1", jobs[3:])


def test_a_job_that_ended_does_not_board(batches, ledger, deferred):
    jobs = deferred(2)
    ledger.cancel(jobs[0])
    assert batches.board("b1", GROUP, {}, most=5, hold_s=60) == 1


def test_only_one_of_two_moves_a_batch_on(batches, deferred):
    deferred(1)
    batches.board("b1", GROUP, {}, most=5, hold_s=60)
    batch = batches.get("b1")
    assert batches.advance(batch, "uploading", records=1).records == 1
    assert batches.advance(batch, "leaving") is None
    assert batches.board("b1", GROUP, {}, most=5, hold_s=60) == 0


def test_a_batch_that_ended_is_remembered_for_some_days(redis, batches, deferred):
    deferred(1)
    batches.board("b1", GROUP, {}, most=5, hold_s=60)
    batches.advance(batches.get("b1"), "ended", outcome="answered")
    assert not batches.is_open("b1")
    assert batches.open() == []
    (ended,) = batches.ended()
    assert (ended.outcome, ended.tenant) == ("answered", "acme")
    assert redis.pttl("fb:bedrock:batch:b1") > 0


def test_jobs_leave_once_for_their_queue(batches, ledger, deferred):
    jobs = deferred(2)
    batches.board("b1", GROUP, {}, most=5, hold_s=60)
    assert batches.leave(jobs, BELL, batch="b1") == 2
    assert batches.leave(jobs, BELL, batch="b1") == 0
    assert {ledger.claim("bedrock").record.batch for _ in jobs} == {"over"}


def test_jobs_may_leave_for_the_next_batch(batches, groups, deferred):
    jobs = deferred(2)
    batches.board("b1", GROUP, {}, most=5, hold_s=60)
    assert batches.leave(jobs, BELL, batch="b1", to_group=GROUP, wait_s=60) == 2
    assert groups.jobs(GROUP, 10) == sorted(jobs, key=groups.jobs(GROUP, 10).index)
    assert [group.jobs for group in groups.all()] == [2]


def test_tenants_share_a_group_only_if_the_policy_says_so():
    assert group_name("acme", "m", by_tenant=True) == "acme m"
    assert group_name("acme", "m", by_tenant=False) == "* m"
