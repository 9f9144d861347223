"""The bedrock lane of `forebay.testing` is the real one: only the model is scripted."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import redis

from forebay import (
    BadAnswer,
    BudgetExceeded,
    Classification,
    Classify,
    EgressDenied,
    Embed,
    EngineBusy,
    EngineDied,
    Extract,
    Generate,
    Message,
    Misconfigured,
    ModelRefused,
    NoModel,
    Summarize,
    Throttled,
    Unavailable,
    testing,
)
from forebay.routing.store.connection import PATIENCE
from forebay.testing import lanes
from patience import until_cached

pytestmark = pytest.mark.slow

REQUEST = Classify(text="where is login", labels=["billing", "login"])
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TO_BEDROCK = {"timeout": 10, "lane": "bedrock", "egress": "allow"}
MODELS = '["anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-5-5"]'


def with_policy(text):
    return testing.fleet(policy=f"[defaults]\nscan_secrets = false\n{text}\n")


def test_a_label_has_no_probability_and_the_answer_says_what_it_cost(fleet, client):
    fleet.answer(Classify, label="billing", probability=0.9, scores={"billing": 0.9})
    answer = client.run(REQUEST, **TO_BEDROCK)
    assert (answer.lane, answer.stand_in, answer.content.label) == ("bedrock", True, "billing")
    assert (answer.content.probability, answer.content.scores) == (None, {})
    assert answer.model == "anthropic.claude-haiku-5-5"
    assert answer.cost_usd > 0
    assert [check.name for check in answer.checks] == ["label"]


def test_every_kind_that_may_leave_is_answered_and_echoed(fleet, client):
    chat = Generate(messages=[Message(role="user", content="Say good morning.")])
    form = {"type": "object", "properties": {"b": {"enum": [7]}}, "required": ["b"]}
    assert client.run(REQUEST, **TO_BEDROCK).content.label == "login"
    assert client.run(Extract(text="b: 7", schema=form), **TO_BEDROCK).content.data == {"b": 7}
    assert client.run(chat, **TO_BEDROCK).content.text == "Say good morning."
    assert "so it is" in client.run(Summarize(text="so it is."), **TO_BEDROCK).content.text
    fleet.answer(Extract, data={"a": 1})
    fleet.answer(Generate, text="Good morning.", finish="length")
    fleet.answer(Summarize, text="It is.")
    answered = client.run(Extract(text="a 1", schema=SCHEMA), **TO_BEDROCK)
    assert (answered.content.data, answered.degraded) == ({"a": 1}, False)
    generated = client.run(chat, **TO_BEDROCK)
    assert (generated.content.text, generated.content.finish) == ("Good morning.", "length")
    assert client.run(Summarize(text="so it is."), **TO_BEDROCK).content.text == "It is."


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (Extract(text="b 1", schema=SCHEMA), {"data": {"b": 1}}),
        (REQUEST, {"label": "weather"}),
        (
            Generate(messages=[Message(role="user", content="x")], regex="a+"),
            {"text": "bbb"},
        ),
    ],
)
def test_the_checks_of_answers_are_real(fleet, client, request_, fields):
    fleet.answer(type(request_), **fields)
    with pytest.raises(BadAnswer):
        client.run(request_, **TO_BEDROCK)


def test_an_answer_that_is_not_grounded_is_degraded(fleet, client):
    fleet.answer(Extract, data={"a": 99})
    assert client.run(Extract(text="a: 1", schema=SCHEMA), **TO_BEDROCK).degraded


def test_what_may_not_leave_or_cannot_be_paid_is_not_asked(fleet, client):
    with pytest.raises(BudgetExceeded, match="max_cost_usd"):
        client.run(REQUEST, max_cost_usd=0, **TO_BEDROCK)
    with pytest.raises(EgressDenied):
        client.run(REQUEST, timeout=10, lane="bedrock")
    assert fleet.requests(Classify) == []


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ("daily_budget_usd = 0", BudgetExceeded),
        ("[fleet]\ndaily_budget_usd = 0", BudgetExceeded),
        ("[tenants.default]\ndaily_budget_usd = 0", BudgetExceeded),
        ("force_deny = true", EgressDenied),
        ("models = []", NoModel),
        ('[fleet]\nmodel_prefixes = ["eu."]', NoModel),
        ('models = ["some.model-without-a-price"]', Misconfigured),
    ],
)
def test_the_policy_limits_the_lane_as_live(policy, error):
    with with_policy(policy) as fleet:
        fleet.answer(Classify, label="billing", times=1)
        with pytest.raises(error):
            fleet.client().run(REQUEST, **TO_BEDROCK)
        assert fleet.requests(Classify) == [], "no call was made, and no rule used up"


def test_calls_reserve_their_worst_case_of_a_budget():
    with with_policy("daily_budget_usd = 0.0015") as fleet:  # about one call at a time
        outcomes = list(fleet.client().map([REQUEST] * 60, **TO_BEDROCK))
        answers = sum(not isinstance(outcome, BudgetExceeded) for outcome in outcomes)
        assert 0 < answers < 60
        assert len(fleet.requests(Classify)) == answers


@pytest.mark.parametrize("error", [Throttled, Unavailable, Throttled("x", retry_after=0.3)])
def test_a_passing_error_shuts_the_spillway_and_is_tried_again(fleet, client, error):
    fleet.answer(Classify, label="billing")
    fleet.fail(Classify, error, times=1)
    began = time.monotonic()
    answer = client.run(REQUEST, **TO_BEDROCK)
    assert (answer.content.label, answer.attempts) == ("billing", 2)
    assert 0.15 < time.monotonic() - began < 3


def test_a_passing_error_without_an_end_ends_the_job(fleet, client):
    fleet.fail(Classify, Throttled)
    with pytest.raises(Throttled):
        client.run(REQUEST, **TO_BEDROCK)
    assert len(fleet.requests(Classify, lane="bedrock")) == 2


def test_a_refusal_is_billed_and_another_model_asked():
    with with_policy(f"models = {MODELS}") as fleet:
        fleet.answer(Classify, label="billing")
        fleet.fail(Classify, ModelRefused, times=1)
        answer = fleet.client().run(REQUEST, **TO_BEDROCK)
        assert answer.model == "anthropic.claude-sonnet-5-5"
        assert len(fleet.requests(Classify)) == 2
        fleet.fail(Classify, ModelRefused)
        with pytest.raises(ModelRefused):
            fleet.client().run(REQUEST, **TO_BEDROCK)


def test_a_job_goes_down_to_the_local_lane_if_the_policy_says_so():
    with with_policy("when_shut = 'degrade'\nthresholds = { classify = 1.0 }") as fleet:
        fleet.answer(Classify, label="billing")
        fleet.fail(Classify, Unavailable, lane="bedrock")
        answer = fleet.client().run(REQUEST, timeout=10, egress="allow")
        assert (answer.lane, answer.degraded) == ("local", True)
        assert "spillway_shut" in answer.reasons


def test_scripted_answers_of_bedrock_are_not_cached_as_those_of_its_mock_are_not(fleet, client):
    fleet.answer(Classify, label="billing", times=1)
    labels = [client.run(REQUEST, cache=True, **TO_BEDROCK).content.label for _ in range(2)]
    assert labels == ["billing", "login"]


def test_a_local_answer_that_is_recalled_was_not_asked_for_again(fleet, client):
    fleet.answer(Classify, label="billing", times=1)
    first = client.run(REQUEST, cache=True, timeout=10)
    until_cached(client, first)
    again = client.run(REQUEST, cache=True, timeout=10)
    assert (first.cached, again.cached) == (False, True)
    assert len(fleet.requests(Classify)) == 1


def test_a_rule_can_be_for_one_lane():
    with with_policy("thresholds = { extract = 0.0 }\nsecond_opinion = { extract = 0.0 }") as fleet:
        fleet.answer(Extract, data={"a": 1})
        fleet.answer(Extract, data={"a": 99}, lane="local", times=1)
        client, request = fleet.client(), Extract(text="a: 1", schema=SCHEMA)
        assert client.run(request, **TO_BEDROCK).content.data == {"a": 1}
        answer = client.run(request, timeout=10, egress="allow")
        assert (answer.lane, answer.content.data) == ("bedrock", {"a": 1}), "a bad draft went up"
        assert client.run(request, timeout=10).content.data == {"a": 1}
        assert len(fleet.requests(Extract)) == 4
        assert fleet.requests(Extract, lane="local") == [request, request]
        assert fleet.requests(Extract, lane="bedrock") == [request, request]


def test_a_failure_can_be_for_one_lane(fleet, client):
    fleet.answer(Classify, label="billing")
    fleet.fail(Classify, ModelRefused, lane="bedrock")
    assert client.run(REQUEST, timeout=10).content.label == "billing"
    with pytest.raises(ModelRefused):
        client.run(REQUEST, **TO_BEDROCK)


@pytest.mark.parametrize("error", [EngineBusy, EngineDied])
def test_an_error_of_an_engine_does_not_happen_on_bedrock(fleet, client, error):
    fleet.answer(Classify, label="billing")
    fleet.fail(Classify, error)
    assert client.run(REQUEST, **TO_BEDROCK).content.label == "billing"
    began = time.monotonic()
    with pytest.raises(error):
        client.run(REQUEST, timeout=10)
    assert time.monotonic() - began < 4
    assert len(fleet.requests(Classify, lane="local")) == 2


@pytest.mark.parametrize(
    "script",
    [
        lambda fleet: fleet.answer(Classify, label="a", lane="auto"),
        lambda fleet: fleet.fail(Classify, ModelRefused, lane="cloud"),
        lambda fleet: fleet.requests(Classify, lane="cloud"),
        lambda fleet: fleet.fail(Classify, EngineBusy, lane="bedrock"),
        lambda fleet: fleet.answer(Embed, vectors=[[1.0]], lane="bedrock"),
    ],
)
def test_a_wrong_lane_is_refused(fleet, script):
    with pytest.raises(ValueError, match="lane: "):
        script(fleet)


def test_audits_are_worked():
    policy = "audit = { share = 1.0 }\nthresholds = { classify = 0.0, summarize = 0.0 }"
    with with_policy(policy) as fleet:
        fleet.answer(Classify, label="billing")
        fleet.answer(Summarize, text="A parcel came wet.")
        client = fleet.client()
        text = "A parcel came, it was wet, and nobody was there to take it."
        for request in (REQUEST, Summarize(text=text)):
            assert client.run(request, timeout=10, egress="allow").lane == "local"
        end = time.monotonic() + 10
        while audits(fleet) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert audits(fleet) == 2
        assert fleet.requests(Classify, lane="bedrock") == [REQUEST], "compared, not judged"
        assert fleet.requests(Summarize, lane="bedrock") == [], "judged"


def audits(fleet):
    with redis.Redis.from_url(fleet.url) as connection:
        return connection.xlen("fb:audits")


def test_an_idle_fleet_goes_on_listening():
    assert PATIENCE["work"].reply_s / 2 > lanes.LISTEN_S
    with testing.fleet() as fleet, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "LISTEN_S", 0.2)
        client = fleet.client()
        for _ in range(3):
            assert client.run(REQUEST, timeout=10).content.label == "login"
            time.sleep(0.5)


def test_nothing_of_boto3_is_imported():
    program = (
        "import sys; from forebay import testing\n"
        "with testing.fleet(): print([m for m in sys.modules if m.startswith('boto')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_content_of_a_bedrock_answer_may_be_given_whole(fleet, client):
    fleet.answer(Classify, Classification(label="login", probability=0.8))
    assert client.run(REQUEST, **TO_BEDROCK).content == Classification(label="login")
