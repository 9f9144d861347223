"""The lane of a job without an answer: no input lets out what may not leave."""

import pytest
from hypothesis import given

from forebay.routing.errors import EgressDenied, NoModel, gist
from forebay.routing.jobs import Verdict
from forebay.routing.lanes import BEDROCK, EMBED
from forebay.routing.policy.egress import egress
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.lane import choose_lane
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import Thresholds
from forebay.routing.reasons import DEGRADING, Reason
from policy_cases import (
    EASY,
    GOES,
    HARD,
    LANES,
    OPEN,
    STAYS,
    job,
    jobs,
    policies,
    policy,
    states,
    verdicts,
)


@given(jobs(), verdicts, policies, states)
def test_no_input_sends_a_job_to_bedrock_that_may_not_leave(each, verdict, rules, state):
    try:
        decision = choose_lane(each, verdict, rules, state)
    except (EgressDenied, NoModel):
        assert each.lane == "bedrock"
        return
    assert isinstance(decision.reason, Reason)
    if decision.queue == BEDROCK:
        assert egress(each, rules) == "allow"
        assert not state.secret
        assert each.lane != "local"
        assert rules.models_for(each)
    else:
        assert decision.queue.startswith("local.") or decision.queue == EMBED


@pytest.mark.parametrize(("each", "verdict", "rules", "state", "lane", "reason"), LANES)
def test_every_lane_has_its_reason(each, verdict, rules, state, lane, reason):
    decision = choose_lane(each, verdict, rules, state)
    assert (decision.queue == BEDROCK, decision.reason) == (lane == "bedrock", reason)


def test_a_pin_to_bedrock_that_the_policy_forbids_raises():
    with pytest.raises(EgressDenied):
        choose_lane(job(lane="bedrock"), EASY, policy(force_deny=True), OPEN)


@pytest.mark.parametrize(
    "rules", [policy(models=()), Policy.model_validate({"fleet": {"model_prefixes": ["eu."]}})]
)
def test_a_pin_to_bedrock_without_a_model_is_told_so_and_not_that_content_may_not_leave(rules):
    with pytest.raises(NoModel) as caught:
        choose_lane(job(lane="bedrock"), EASY, rules, OPEN)
    assert (caught.value.code, caught.value.field) == ("no_model_allowed", "lane")
    assert "model_prefixes" in caught.value.message
    assert "leave" not in caught.value.message + gist(caught.value.code)


def test_a_job_goes_to_the_model_that_it_names_if_the_policy_allows_the_model():
    rules = policy(models=("first", "second"))
    named = job(lane="bedrock", model="second")
    assert choose_lane(named, EASY, rules, OPEN).queue == BEDROCK
    assert rules.models_for(named) == ("second",)
    with pytest.raises(NoModel, match="models on Bedrock that the policy allows") as caught:
        choose_lane(job(lane="bedrock", model="third"), EASY, rules, OPEN)
    assert caught.value.field == "model"


def test_a_decision_says_what_the_verdict_was_compared_with():
    decision = choose_lane(job(), EASY, policy(thresholds=Thresholds(generate=0.95)), OPEN)
    assert (decision.queue, decision.threshold) == (BEDROCK, 0.95)
    assert choose_lane(job(), EASY, Policy(), GOES).threshold == 0.3


def test_a_job_that_the_pace_sends_waits_or_degrades_while_the_spillway_is_shut():
    shut = FrontierState(spillway="shut", pace=GOES.pace)
    assert choose_lane(job(), EASY, Policy(), shut).reason == Reason.SPILLWAY_WAIT
    assert choose_lane(job(), EASY, policy(when_shut="degrade"), shut).reason in DEGRADING
    assert choose_lane(job(), HARD, Policy(), STAYS).reason not in DEGRADING


def test_a_probability_equal_to_the_threshold_is_easy():
    rules = policy(thresholds=Thresholds(generate=0.5))
    verdict = Verdict(probability=0.5, version="test")
    assert choose_lane(job(), verdict, rules, OPEN).reason == Reason.VERDICT_EASY
