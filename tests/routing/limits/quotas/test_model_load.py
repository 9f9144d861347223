"""What all workers together use of a model, and how it follows the service."""

from __future__ import annotations

import time

import pytest

from forebay.routing.jobs import Generate, Job, Message
from forebay.routing.limits.quotas.model_load import ModelLoad
from forebay.routing.policy.tables import ModelRules

MODEL = "anthropic.claude-haiku-5-5"
NO_LIMITS = ModelRules()


@pytest.fixture
def load(redis):
    return ModelLoad(redis)


@pytest.fixture
def take(ledger, load):
    """Takes a slot for a new job that a worker holds."""

    def take(rules=NO_LIMITS, tokens=10, model=MODEL, tenant="acme"):
        ask = Generate(messages=[Message(role="user", content="hello")])
        [job_id] = ledger.create([Job(tenant=tenant, request=ask)])
        claim = ledger.claim("route")
        take.claims[job_id] = claim
        return load.take(model, f"call-{job_id}", (claim.id, claim.token), rules, tokens)

    take.claims = {}
    return take


def window(redis):
    return float(redis.hget(f"fb:spillway:load:{MODEL}", "window"))


def pass_rest(redis):
    redis.hset(f"fb:spillway:load:{MODEL}", "rest_until", 0)


def test_no_more_calls_run_at_once_than_the_policy_says(take, load):
    rules = ModelRules(max_calls=2)
    slots = [take(rules) for _ in range(3)]
    assert [slot.lacking for slot in slots] == [None, None, "calls"]
    assert take(rules, model="another").lacking is None
    load.give(slots[0], "ok")
    assert take(rules).lacking is None
    assert take(rules).lacking == "calls"


def test_the_slot_of_a_worker_that_died_is_free_once_its_claim_is(take, load, ledger, redis):
    rules = ModelRules(max_calls=1)
    held = take(rules)
    assert take(rules).lacking == "calls"
    ledger.retry(take.claims[held.job_id], "engine_died")
    redis.hset(f"fb:spillway:load:{MODEL}", "pruned_at", 0)
    assert take(rules).lacking is None


@pytest.mark.parametrize(
    ("rules", "lacking"),
    [
        (ModelRules(requests_per_minute=2), "requests"),
        (ModelRules(tokens_per_minute=25), "tokens"),
    ],
)
def test_what_a_minute_allows_fills_up_evenly(take, load, redis, rules, lacking):
    for _ in range(2):
        load.give(take(rules), "ok")
    refused = take(rules)
    assert refused.lacking == lacking
    assert 1 < refused.wait_s <= 30
    later = int(time.time() * 1_000) - int(refused.wait_s * 1_000) - 1_000
    redis.hset(f"fb:spillway:load:{MODEL}", "at", later)
    assert take(rules).lacking is None


def test_tokens_that_were_not_used_are_given_back_and_others_are_owed(take, load):
    rules = ModelRules(tokens_per_minute=100)
    load.give(take(rules, tokens=100), "ok", used=30)
    slot = take(rules, tokens=60)
    assert slot.lacking is None
    load.give(slot, "ok", used=200)
    assert take(rules, tokens=1).wait_s > 60


def test_a_call_larger_than_the_whole_minute_passes_once_the_minute_is_unused(take, load):
    rules = ModelRules(tokens_per_minute=100)
    load.give(take(rules, tokens=500), "ok")
    assert take(rules, tokens=500).lacking == "tokens"


def test_a_limit_that_is_set_later_begins_without_a_debt(take, load):
    for _ in range(5):
        load.give(take(), "ok", used=10_000)
    assert take(ModelRules(requests_per_minute=2, tokens_per_minute=20)).lacking is None


def test_the_calls_at_once_are_halved_once_for_all_that_were_throttled_together(take, load, redis):
    slots = [take(ModelRules(max_calls=16)) for _ in range(16)]
    for slot in slots:
        assert load.give(slot, "throttled") > 0
    assert window(redis) == 8
    pass_rest(redis)
    slots = [take(ModelRules(max_calls=16)) for _ in range(9)]
    assert [slot.lacking for slot in slots] == [None] * 8 + ["calls"]
    for slot in slots[:8]:
        load.give(slot, "ok")
    assert 8.9 < window(redis) < 9.1


def test_the_calls_at_once_never_fall_below_one_nor_rise_above_the_policys(take, load, redis):
    rules = ModelRules(max_calls=2)
    for _ in range(6):
        load.give(take(rules), "throttled")
        pass_rest(redis)
    assert window(redis) == 1
    for _ in range(9):
        load.give(take(rules), "ok")
    assert window(redis) == 2


def test_a_throttled_model_rests_as_long_as_the_service_asks(take, load):
    assert load.give(take(), "throttled", retry_after=7) == pytest.approx(7, abs=0.1)
    refused = take()
    assert (refused.lacking, refused.rests) == ("resting", True)
    assert refused.wait_s == pytest.approx(7, abs=0.2)


def test_the_models_that_rest_are_told_and_logged_once(take, load, caplog):
    slots = [take(), take()]
    for slot in slots:
        load.give(slot, "throttled", retry_after=7)
    assert load.resting() == {MODEL: pytest.approx(7, abs=0.2)}
    assert [record.getMessage() for record in caplog.records] == [
        f"{MODEL} rests for 7.0 s (throttled)"
    ]


def test_a_model_that_is_throttled_again_rests_for_longer(take, load, redis):
    rests = []
    for _ in range(7):
        rests.append(load.give(take(), "throttled"))
        pass_rest(redis)
        time.sleep(0.002)
    assert rests == sorted(rests)
    assert rests[0] == pytest.approx(0.5, abs=0.1)
    assert rests[-1] == pytest.approx(20, abs=0.1)
    load.give(take(), "ok")
    assert load.give(take(), "throttled") == pytest.approx(0.5, abs=0.1)


def test_a_model_that_fails_three_times_in_a_row_rests_and_is_probed_by_one_call(take, load, redis):
    assert [load.give(take(), "failed") for _ in range(2)] == [0, 0]
    assert load.give(take(), "failed") == pytest.approx(5, abs=0.1)
    assert take().lacking == "resting"
    assert take(model="another").lacking is None
    pass_rest(redis)
    probe = take()
    assert probe.lacking is None
    assert take().lacking == "probing"
    assert load.give(probe, "failed") == pytest.approx(10, abs=0.1)
    pass_rest(redis)
    load.give(take(), "ok")
    assert [take().lacking for _ in range(3)] == [None] * 3


def test_calls_that_fail_together_show_one_fault(take, load, redis):
    slots = [take() for _ in range(12)]
    rests = [load.give(slot, "failed") for slot in slots]
    assert rests[:2] == [0, 0]
    assert max(rests) == pytest.approx(5, abs=0.1)
    pass_rest(redis)
    assert load.give(take(), "failed") == pytest.approx(10, abs=0.1)


def test_a_call_that_began_before_the_model_rested_does_not_end_the_probe(take, load, redis):
    slots = [take() for _ in range(4)]
    for slot in slots[:3]:
        load.give(slot, "failed")
    pass_rest(redis)
    assert take().lacking is None, "the probe"
    load.give(slots[3], "failed")
    assert take().lacking == "probing"


def test_another_call_probes_once_the_worker_of_the_probe_is_dead(take, load, ledger, redis):
    for _ in range(3):
        load.give(take(), "failed")
    pass_rest(redis)
    probe = take()
    waits = take()
    assert (waits.lacking, waits.wait_s) == ("probing", 5)
    ledger.retry(take.claims[probe.job_id], "engine_died")
    assert [take().lacking for _ in range(2)] == [None, "probing"]


def test_good_answers_between_failures_keep_a_model_open(take, load):
    for _ in range(5):
        assert load.give(take(), "failed") == 0
        load.give(take(), "ok")


def test_all_rest_until_the_first_may_be_called_again(take, load):
    load.give(take(), "throttled", retry_after=7)
    assert load.all_rest_s([MODEL]) == pytest.approx(7, abs=0.2)
    assert load.all_rest_s([MODEL, "another"]) == 0
    load.give(take(model="another"), "throttled", retry_after=3)
    assert load.all_rest_s([MODEL, "another"]) == pytest.approx(3, abs=0.2)
    assert load.all_rest_s([]) == 0


def fail(take, load, tenant, times=3):
    """Let calls of a tenant fail one by one; return how long the model rests after each."""
    return [load.give(take(tenant=tenant), "failed") for _ in range(times)]


def test_calls_of_one_tenant_rest_a_model_for_this_tenant_alone(take, load, caplog):
    load.give(take(tenant="alpha"), "ok")
    assert fail(take, load, "vandal")[-1] == pytest.approx(5, abs=0.1)
    assert take(tenant="vandal").lacking == "resting"
    assert take(tenant="alpha").lacking is None
    assert take(tenant="beta").lacking is None
    assert load.resting() == {}
    assert load.resting_for_tenants() == {(MODEL, "vandal"): pytest.approx(5, abs=0.2)}
    assert load.all_rest_s([MODEL]) == 0
    assert load.all_rest_s([MODEL], "vandal") == pytest.approx(5, abs=0.2)
    assert load.all_rest_s([MODEL], "alpha") == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{MODEL} rests for 5.0 s for the calls of vandal (failed)"
    ]


def test_a_model_rests_for_all_once_the_calls_of_a_second_tenant_fail(take, load):
    load.give(take(tenant="gamma"), "ok")
    fail(take, load, "alpha")
    assert fail(take, load, "beta", 2) == [0, 0]
    assert take(tenant="gamma").lacking is None
    assert fail(take, load, "beta", 1)[0] == pytest.approx(5, abs=0.1)
    assert take(tenant="gamma").lacking == "resting"
    assert MODEL in load.resting()


def test_an_answer_to_anybody_shows_that_a_model_works_for_others(take, load):
    fail(take, load, "vandal", 2)
    load.give(take(tenant="alpha"), "ok")
    fail(take, load, "vandal", 1)
    load.give(take(tenant="alpha"), "ok")
    fail(take, load, "beta")
    assert [take(tenant=name).lacking for name in ("vandal", "beta")] == ["resting"] * 2
    assert take(tenant="alpha").lacking is None


def test_a_model_rests_for_all_if_no_other_tenant_was_served_for_long(take, load, redis):
    load.give(take(tenant="alpha"), "ok")
    redis.zadd(f"fb:spillway:served:{MODEL}", {"alpha": int(time.time() * 1_000) - 700_000})
    fail(take, load, "beta")
    assert take(tenant="alpha").lacking == "resting"


def test_a_model_that_failed_for_one_tenant_is_probed_by_one_call_of_it(take, load, redis):
    load.give(take(tenant="alpha"), "ok")
    fail(take, load, "vandal")
    own = f"fb:spillway:load:{MODEL} vandal"
    redis.hset(own, "rest_until", 0)
    probe = take(tenant="vandal")
    assert probe.lacking is None
    assert take(tenant="vandal").lacking == "probing"
    load.give(take(tenant="alpha"), "ok")
    assert load.give(probe, "failed") == pytest.approx(10, abs=0.1)
    redis.hset(own, "rest_until", 0)
    load.give(take(tenant="vandal"), "ok")
    assert fail(take, load, "vandal", 2) == [0, 0]


def test_a_throttled_model_rests_for_all_tenants_at_once(take, load):
    load.give(take(tenant="alpha"), "ok")
    load.give(take(tenant="beta"), "throttled", retry_after=7)
    assert take(tenant="alpha").lacking == "resting"


def lapse(redis, ms=6_000):
    """Let so much time pass for whoever waits for the model or was served by it."""
    for tenant, text in redis.hgetall(f"fb:spillway:asking:{MODEL}").items():
        until_ms, tokens = map(int, text.split())
        redis.hset(f"fb:spillway:asking:{MODEL}", tenant, f"{until_ms - ms} {tokens}")
    for tenant, at in redis.zrange(f"fb:spillway:served:{MODEL}", 0, -1, withscores=True):
        redis.zadd(f"fb:spillway:served:{MODEL}", {tenant: at - ms})


def test_a_tenant_alone_takes_all_slots_and_leaves_each_that_is_freed_to_one_that_waits(take, load):
    rules = ModelRules(max_calls=4)
    slots = [take(rules) for _ in range(4)]
    assert all(slot.lacking is None for slot in slots)
    assert take(rules, tenant="other").lacking == "calls"
    load.give(slots[0], "ok")
    assert take(rules).lacking == "calls", "it holds more than its share while another waits"
    assert take(rules, tenant="other").lacking is None
    assert take(rules, tenant="other").lacking == "calls"
    load.give(slots[1], "ok")
    assert take(rules).lacking == "calls"
    assert take(rules, tenant="other").lacking is None
    assert take(rules, tenant="other").lacking == "calls", "now both have their share"
    load.give(slots[2], "ok")
    assert take(rules, tenant="other").lacking == "calls"
    assert take(rules).lacking is None


def test_a_slot_is_left_to_nobody_who_has_stopped_asking(take, load, redis):
    rules = ModelRules(max_calls=2)
    slots = [take(rules) for _ in range(2)]
    assert take(rules, tenant="gone").lacking == "calls"
    load.give(slots[0], "ok")
    assert take(rules).lacking == "calls"
    lapse(redis)
    assert take(rules).lacking is None


def test_one_tenant_that_calls_now_and_then_finds_a_slot_at_its_next_call(take, load, redis):
    rules = ModelRules(max_calls=4)
    slots = [take(rules) for _ in range(3)]
    load.give(take(rules, tenant="now-and-then"), "ok")
    assert take(rules).lacking == "calls"
    load.give(take(rules, tenant="now-and-then"), "ok")
    lapse(redis)
    assert take(rules).lacking is None
    assert len(slots) == 3


def test_many_tenants_have_one_slot_each_before_one_has_two(take, load):
    rules = ModelRules(max_calls=3)
    slots = [take(rules) for _ in range(3)]
    for number in range(5):
        assert take(rules, tenant=f"t{number}").lacking == "calls"
    for slot in slots[:2]:
        load.give(slot, "ok")
    assert [take(rules, tenant=name).lacking for name in ("acme", "t3", "t3", "t1")] == [
        "calls", None, "calls", None,
    ]  # fmt: skip


def age(redis, seconds):
    """Let a part of the minute fill up."""
    at = int(redis.hget(f"fb:spillway:load:{MODEL}", "at"))
    redis.hset(f"fb:spillway:load:{MODEL}", "at", at - int(seconds * 1_000))


@pytest.mark.parametrize(
    "rules", [ModelRules(requests_per_minute=6), ModelRules(tokens_per_minute=60)]
)
def test_what_a_minute_allows_goes_to_the_tenant_that_has_waited_longer(take, redis, rules):
    for _ in range(6):
        assert take(rules).lacking is None
    assert take(rules, tenant="other").lacking
    age(redis, 10.5)
    assert take(rules).lacking, "it has just had its part"
    assert take(rules, tenant="other").lacking is None
    assert take(rules).lacking
    age(redis, 10.5)
    assert take(rules, tenant="other").lacking
    assert take(rules).lacking is None


def test_a_large_call_is_not_starved_by_small_ones_of_another_tenant(take, redis):
    rules = ModelRules(tokens_per_minute=600)
    take(rules, tokens=600)
    assert take(rules, tokens=50, tenant="large").lacking == "tokens"
    age(redis, 3)
    assert take(rules, tokens=10).lacking == "tokens", "that would take from what the other needs"
    age(redis, 2.5)
    assert take(rules, tokens=50, tenant="large").lacking is None


def test_one_tenant_that_gave_up_its_large_call_holds_nobody_up(take, redis):
    rules = ModelRules(tokens_per_minute=600)
    take(rules, tokens=600)
    assert take(rules, tokens=600, tenant="gone").lacking == "tokens"
    age(redis, 13)
    assert take(rules, tokens=10).lacking == "tokens"
    lapse(redis, 13_500)
    assert take(rules, tokens=10).lacking is None


@pytest.mark.parametrize(
    "rules", [ModelRules(requests_per_minute=1), ModelRules(tokens_per_minute=10)]
)
def test_a_model_gets_its_minute_also_if_the_clock_was_set_back(take, redis, rules):
    assert take(rules).lacking is None
    assert take(rules).lacking is not None
    redis.hincrby(f"fb:spillway:load:{MODEL}", "at", 86_400_000)
    assert take(rules).lacking is None


def test_the_slots_of_the_dead_are_free_also_if_the_clock_was_set_back(take, ledger, redis):
    rules = ModelRules(max_calls=1)
    held = take(rules)
    assert take(rules).lacking == "calls"
    ledger.retry(take.claims[held.job_id], "engine_died")
    redis.hincrby(f"fb:spillway:load:{MODEL}", "pruned_at", 86_400_000)
    assert take(rules).lacking is None
