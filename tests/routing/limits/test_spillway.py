"""Which job probes a fault of the account or of a model, and what the others do meanwhile."""

import pytest

from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import Settings
from ledger_jobs import BELL

MODEL = "anthropic.claude-haiku-5-5"


@pytest.fixture
def worked(ledger):
    """Makes the claim of a new job that a worker works."""

    def worked():
        ledger.create([Job(request=Generate(messages=[Message(role="user", content="hello")]))])
        return ledger.claim("route")

    return worked


@pytest.fixture
def spillway(redis):
    """A spillway with a fault whose pause has passed."""
    spillway = Spillway(redis)
    spillway.fail("*", "misconfigured", "AWS credentials: have expired")
    redis.delete("fb:spillway", "fb:spillway:pause:*")
    return spillway


def test_one_job_probes_a_fault_while_it_has_its_claim(spillway, worked):
    assert spillway.admit(MODEL, worked().id).wait_s == 0
    waits = spillway.admit(MODEL, worked().id)
    assert (waits.wait_s, waits.fault.code) == (5.0, "misconfigured")


def test_a_job_that_probes_may_call_again(spillway, worked):
    """Such as another model, or the same one in other words."""
    prober = worked()
    assert [spillway.admit(MODEL, prober.id).wait_s for _ in range(2)] == [0, 0]
    assert spillway.admit(MODEL, worked().id).wait_s == 5


@pytest.mark.parametrize("ending", ["the worker died", "no call was made"])
def test_another_job_probes_once_the_first_has_lost_its_claim(spillway, worked, ledger, ending):
    prober = worked()
    spillway.admit(MODEL, prober.id)
    ledger.retry(prober, "throttled", delay_s=60, counted=ending == "the worker died")
    assert [spillway.admit(MODEL, worked().id).wait_s for _ in range(2)] == [0, 5.0]


def test_no_job_probes_while_a_fault_is_fresh(spillway, worked):
    spillway.fail(MODEL, "misconfigured", "access to the model is denied")
    assert 0 < spillway.admit(MODEL, worked().id).wait_s <= 5
    assert spillway.admit("another", worked().id).wait_s == 0


def test_a_spillway_is_shut_for_the_jobs_of_one_tenant(redis):
    ledger = Ledger(redis, Settings(), BELL)
    redis.zadd("fb:serving:bedrock", {"worker": 2**50})
    spillway = Spillway(ledger.redis)
    spillway.shut("unavailable", 30, "vandal")
    assert [spillway.gate(tenant) for tenant in ("vandal", "acme")] == ["shut", "open"]
    assert spillway.shut_for_s() == 0
    spillway.shut("unavailable", 30)
    assert Spillway(redis).gate("acme") == "shut"
