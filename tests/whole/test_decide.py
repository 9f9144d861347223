"""Questions about a text through a whole fleet: echo engine, packaged model, mock of Bedrock."""

from __future__ import annotations

import pytest

from forebay import Choice, Client, Decide, Label, Predicate, Score, TooLong
from forebay.routing.settings import Settings
from local.fleet import Fleet

pytestmark = pytest.mark.slow

POLICY = """
[defaults]
thresholds.decide = 0.0
second_opinion.decide = 1.0
[tenants.echo]
pools.decide = "echo"
"""
QUESTIONS = [
    Predicate(name="late", instructions="Is a parcel late?"),
    Choice(name="team", instructions="Which team?", choices=["billing", Label(name="parcels")]),
    Score(name="anger", instructions="How angry?", levels=["calm", "cross", "furious"]),
    Score(name="hurry", instructions="How urgent?", minimum=1, maximum=4, unsure=True),
]
STATE = {"text": "My parcels are late, yes, and I am cross.", "days": 4}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decide")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    with Fleet(folder, {"FOREBAY_POLICY_FILE": str(policy)}) as fleet:
        fleet.start_redis()
        for part in ("mock_bedrock", "router", "sweeper", "bedrock", "local"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_POOL="echo")
        fleet.wait_ready()
        yield fleet


@pytest.fixture
def client(fleet):
    with Client(tenant="echo", settings=Settings(redis_url=fleet.url)) as client:
        yield client


def test_each_question_is_answered_with_probabilities(client):
    answer = client.run(Decide(state=STATE, questions=QUESTIONS))
    late, team, anger, hurry = answer.content.answers
    assert (late.chosen, late.probabilities) == ("yes", pytest.approx({"yes": 0.9, "no": 0.1}))
    assert (team.chosen, team.confidence) == ("parcels", pytest.approx(0.8))
    assert (anger.chosen, anger.score) == ("cross", pytest.approx(1.0))
    assert hurry.probabilities.keys() == {"1", "2", "3", "4", "unsure"}
    assert answer.content["team"] == team
    assert (answer.lane, answer.degraded, answer.content.basis) == ("local", False, "scored")
    assert answer.tokens_in > 0


def test_an_unsure_answer_goes_up_and_its_probabilities_are_stated(client):
    unsure = {**STATE, "note": "[[echo: confidence=0.4]]"}
    answer = client.run(Decide(state=unsure, questions=QUESTIONS), egress="allow")
    assert (answer.lane, answer.content.basis) == ("bedrock", "stated")
    assert "low_probability" in answer.reasons
    assert [each.chosen for each in answer.content.answers] == ["yes", "parcels", "cross", "4"]
    assert answer.cost_usd > 0


def test_an_unsure_answer_that_may_not_leave_says_so(client):
    unsure = {**STATE, "note": "[[echo: confidence=0.4]]"}
    answer = client.run(Decide(state=unsure, questions=QUESTIONS))
    assert (answer.lane, answer.degraded) == ("local", True)
    assert "low_probability" in answer.reasons


def test_a_second_opinion_is_compared_question_by_question(client):
    twice = {**STATE, "note": "[[echo: warm=no]] [[echo: say=yes]]"}
    request = Decide(state=twice, questions=QUESTIONS[:1])
    answer = client.run(request, egress="allow")
    assert answer.doubt.agreement == 0.0
    assert (answer.lane, answer.reasons[-1]) == ("bedrock", "second_opinion_differs")


def test_a_state_that_is_too_long_for_the_local_model_names_the_state(client):
    with pytest.raises(TooLong) as caught:
        client.run(Decide(state="word " * 9_000, questions=QUESTIONS))
    assert caught.value.field == "state"


def test_the_packaged_model_answers_too(fleet):
    with Client(tenant="model", settings=Settings(redis_url=fleet.url)) as client:
        answer = client.run(Decide(state="I was charged twice.", questions=QUESTIONS), timeout=120)
    assert answer.lane == "local"
    for each in answer.content.answers:
        assert sum(each.probabilities.values()) == pytest.approx(1)
