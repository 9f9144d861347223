"""Limits that all bedrock workers share: a model that is busy, throttled or down."""

from __future__ import annotations

import threading

import pytest

from forebay.routing.limits.spillway import Spillway
from forebay.routing.reasons import Reason
from forebay.workers.frontier.calling import slots
from forebay.workers.runtime.outcomes import Answered, Retry

pytestmark = pytest.mark.slow

HAIKU, SONNET = "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"
TWO = f'[defaults]\nmodels = ["{HAIKU}", "{SONNET}"]\n'
ONCE_A_MINUTE = f'[fleet.models."{HAIKU}"]\nrequests_per_minute = 1\n'


@pytest.fixture(autouse=True)
def brief_waits(monkeypatch):
    monkeypatch.setattr(slots, "MAX_WAIT_S", 0.3)


def test_a_job_waits_uncounted_while_its_models_minute_is_used_up(lane, mock):
    assert isinstance(lane.work(ONCE_A_MINUTE), Answered)
    outcome = lane.work(ONCE_A_MINUTE + '[defaults]\nwhen_shut = "degrade"\n')
    assert isinstance(outcome, Retry)
    assert not outcome.counted
    assert 30 < outcome.delay_s <= 60
    assert len(mock.calls) == 1
    assert lane.budget.spent()[1] == 0


def test_the_next_model_of_the_list_answers_meanwhile(lane, mock):
    for _ in range(2):
        lane.work(ONCE_A_MINUTE + TWO)
    assert [call.model for call in mock.calls] == [HAIKU, SONNET]


def test_a_job_whose_first_model_is_busy_waits_for_it_if_the_next_is_too_dear(lane, mock):
    rules = f'{ONCE_A_MINUTE}[fleet.models."{SONNET}"]\ndaily_budget_usd = 0.0\n{TWO}'
    lane.work(rules)
    assert isinstance(lane.work(rules), Retry)


def test_a_throttled_model_is_not_called_while_it_rests_and_the_next_one_answers(lane, mock, redis):
    mock.faults.plan(["throttle:9"])
    for _ in range(3):
        assert lane.work(TWO).answer.model == SONNET
    assert [call.model for call in mock.calls] == [HAIKU, SONNET, SONNET, SONNET]
    assert Spillway(redis).shut_for_s() == 0


def test_a_model_that_fails_three_times_shuts_the_spillway_if_it_is_the_only_one(lane, mock, redis):
    mock.faults.plan(["unavailable"] * 9)
    for calls, shut in ((1, False), (2, False), (3, True), (3, True)):
        assert isinstance(lane.work(), Retry)
        assert (len(mock.calls), Spillway(redis).shut_for_s() > 0) == (calls, shut)
    redis.delete("fb:spillway")
    redis.hset(f"fb:spillway:load:{HAIKU}", "rest_until", 0)
    mock.faults.plan()
    assert isinstance(lane.work(), Answered)


def test_calls_of_one_tenant_that_fail_shut_the_spillway_for_its_jobs_alone(lane, mock, redis):
    lane.work(tenant="alpha")
    mock.faults.plan(["unavailable"] * 3)
    for _ in range(4):
        assert isinstance(lane.work(tenant="vandal"), Retry)
    assert len(mock.calls) == 4, "the fourth job of the vandal is not sent"
    assert isinstance(lane.work(tenant="alpha"), Answered)
    gates = [Spillway(redis).gate(tenant) for tenant in ("vandal", "alpha")]
    assert (Spillway(redis).shut_for_s(), gates[0]) == (0, "shut")


def test_two_workers_share_the_calls_at_once(lane, mock):
    rules = f'[fleet.models."{HAIKU}"]\nmax_calls = 1\n'
    lane.work(rules)
    mock.faults.plan(["slow:2"])
    first = threading.Thread(target=lane.work, args=(rules,))
    first.start()
    while len(mock.calls) < 2:
        threading.Event().wait(0.01)
    outcome = lane.work(rules)
    first.join()
    assert isinstance(outcome, Retry)
    assert outcome.code == "throttled"
    assert len(mock.calls) == 2
    assert isinstance(lane.work(rules), Answered)


def test_a_call_gives_its_slot_back_whatever_it_ends_with(lane, mock, redis):
    for fault in ("invalid", "refuse", "half", "denied", "internal", None):
        mock.faults.plan([fault])
        lane.work(f'[fleet.models."{HAIKU}"]\nmax_calls = 1\n')
        assert redis.zcard(f"fb:spillway:slots:{HAIKU}") == 0
        redis.delete(*redis.keys("fb:spillway*"))
    lane.work("[defaults]\ndaily_budget_usd = 0.0\n")  # no call is made at all
    assert redis.zcard(f"fb:spillway:slots:{HAIKU}") == 0


def test_the_reason_has_a_meaning():
    assert Reason.AT_LIMIT.meaning
