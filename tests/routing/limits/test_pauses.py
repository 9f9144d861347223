"""What an operator pauses waits, whoever else goes on, until it is resumed."""

from __future__ import annotations

import pytest

from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Job, Summarize, Verdict
from forebay.routing.limits import pauses as pauses_module
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.pauses import Pauses
from forebay.routing.limits.spillway import Spillway
from forebay.routing.policy.policy_file import Policy
from forebay.workers.router import Router
from forebay.workers.runtime.retries import PAUSED
from patience import until
from working import work_next

SURE = Verdict(probability=0.9, version="t")


@pytest.fixture
def pauses(redis, monkeypatch):
    for module in ("spillway", "frontier_status", "pauses"):
        monkeypatch.setattr(f"forebay.routing.limits.{module}.LOOK_EVERY_S", 0)
    return Pauses(redis)


def submit(ledger, tenant="acme", **options) -> str:
    job = Job(tenant=tenant, egress="allow", request=Summarize(text="t"), **options)
    (job_id,) = ledger.create([job])
    return job_id


def move(ledger, queue) -> str:
    claim = ledger.claim("route")
    ledger.route(claim, queue, "allow", "verdict_hard", SURE)
    return claim.id


def test_a_paused_lane_gives_no_job_until_it_is_resumed(ledger, pauses):
    job_id = submit(ledger)
    pauses.pause("lane:route")
    assert ledger.claim("route") is None
    assert ledger.record(job_id).state == "waiting"
    assert pauses.resume("lane:route")
    assert ledger.claim("route").id == job_id


@pytest.mark.parametrize("queue", ["local.default", "local.big", "embed"])
def test_pausing_the_local_lane_holds_every_pool(ledger, pauses, queue):
    submit(ledger)
    job_id = move(ledger, queue)
    pauses.pause("lane:local")
    assert ledger.claim(queue) is None
    pauses.resume("lane:local")
    assert ledger.claim(queue).id == job_id


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_the_jobs_of_a_paused_tenant_wait_while_others_go_on(ledger, pauses, priority):
    held = [submit(ledger, "acme", priority=priority) for _ in range(3)]
    others = {submit(ledger, tenant, priority=priority) for tenant in ("beta", "gamma", "beta")}
    pauses.pause("tenant:acme")
    assert {ledger.claim("route").id for _ in others} == others
    assert ledger.claim("route") is None
    pauses.resume("tenant:acme")
    assert [ledger.claim("route").id for _ in held] == held


def test_a_tenant_that_was_paused_for_long_does_not_crowd_out_others_afterwards(ledger, pauses):
    for _ in range(10):
        submit(ledger, "acme")
    pauses.pause("tenant:acme")
    for _ in range(20):
        submit(ledger, "beta")
        ledger.claim("route")
    for _ in range(10):
        submit(ledger, "beta")
    pauses.resume("tenant:acme")
    first = [ledger.claim("route").id.partition(".")[0] for _ in range(10)]
    assert 4 <= first.count("acme") <= 6


def test_more_paused_tenants_than_a_claim_looks_at_hold_nobody_else_for_ever(ledger, pauses):
    for number in range(60):
        submit(ledger, f"t{number}")
        pauses.pause(f"tenant:t{number}")
    job_id = submit(ledger, "zeta")
    assert ledger.claim("route").id == job_id


def test_bedrock_is_paused_for_one_tenant(ledger, pauses, redis):
    for tenant in ("acme", "beta"):
        submit(ledger, tenant)
    moved = {move(ledger, "bedrock") for _ in range(2)}
    ledger.serve("bedrock1@here", ["bedrock"], 60)
    pauses.pause("bedrock:acme")
    claim = ledger.claim("bedrock")
    assert claim.id.startswith("beta.")
    assert ledger.claim("bedrock") is None
    status, rules = FrontierStatus(redis), Policy()
    jobs = [
        Job(tenant=one, egress="allow", request=Summarize(text="t")) for one in ("acme", "beta")
    ]
    assert [status.state(job, rules).spillway for job in jobs] == ["shut", "open"]
    submit(ledger, "acme")  # everything else of the tenant goes on
    assert ledger.claim("route").id.startswith("acme.")
    pauses.resume("bedrock:acme")
    assert {claim.id, ledger.claim("bedrock").id} == moved


def test_a_paused_bedrock_is_shut_for_new_jobs_and_a_paused_model_is_not_called(
    ledger, pauses, redis
):
    ledger.serve("bedrock1@here", ["bedrock"], 60)
    spillway = Spillway(redis)
    assert spillway.gate() == "open"
    pauses.pause("model:anthropic.x")
    admission = spillway.admit("anthropic.x", "acme.1")
    assert (admission.fault.scope, admission.fault.reason) == (
        "anthropic.x", "an operator has paused this model",
    )  # fmt: skip
    assert admission.wait_s > 0
    assert spillway.admit("anthropic.y", "acme.1").wait_s == 0
    pauses.pause("lane:bedrock")
    assert spillway.gate() == "shut"


def test_a_job_of_a_paused_kind_goes_back_without_an_attempt(ledger, pauses):
    job_id, router = submit(ledger), Router(ledger)
    pauses.pause("kind:summarize")
    recorded = work_next(ledger, "route", router.work)
    assert (recorded.state, recorded.outcome.code) == ("waiting", PAUSED)
    record = ledger.record(job_id)
    assert (record.hop, record.attempts) == ("route", 0)
    pauses.resume("kind:summarize")
    ledger.redis.zadd("fb:later", {job_id: 0})
    ledger.sweep()
    recorded = work_next(ledger, "route", router.work)
    assert recorded.outcome.queue.startswith("local.")


@pytest.mark.parametrize("scope", ["lane:route", "tenant:acme"])
def test_no_doorbells_ring_for_what_is_paused_and_they_ring_again_afterwards(
    ledger, pauses, redis, scope
):
    for _ in range(5):
        submit(ledger)
    pauses.pause(scope)
    redis.delete("route")  # the doorbells, which workers took in vain
    for _ in range(3):
        redis.hdel("fb:quiet", "route at")
        assert ledger.sweep().rung == 0
    assert ledger.depths()["route"] == 5
    pauses.resume(scope)

    def rung():
        redis.hdel("fb:quiet", "route at")
        return ledger.sweep().rung

    assert until(rung, 10) == 5


def test_pauses_are_listed_with_their_reason_and_survive_what_is_damaged(pauses, redis):
    pauses.pause("tenant:acme", "their invoice is open")
    pauses.pause("lane:bedrock")
    redis.hset(pauses_module.KEY, "tenant:x", "no json")
    listed = pauses.all()
    assert [one.scope for one in listed] == ["lane:bedrock", "tenant:acme", "tenant:x"]
    assert listed[1].reason == "their invoice is open"
    assert not pauses.resume("tenant:nobody")


@pytest.mark.parametrize("scope", ["acme", "tenant:", "lane:gpu", "kind:translate", "job:x", ""])
def test_only_what_exists_can_be_paused(pauses, scope):
    with pytest.raises(InvalidJob, match="must be one of"):
        pauses.pause(scope)


def test_a_key_of_the_wrong_type_pauses_nothing(ledger, redis):
    job_id = submit(ledger)
    redis.set("fb:paused", "x")
    assert ledger.claim("route").id == job_id
