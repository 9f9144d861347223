"""`forebay.testing` with questions: scripted decisions, and what answers without a script."""

import pytest

from forebay import (
    BadAnswer,
    Choice,
    Decide,
    Decisions,
    InvalidJob,
    Predicate,
    Score,
)
from forebay.routing.questions.decisions import answer_to
from patience import until_cached

pytestmark = pytest.mark.slow

LATE = Predicate(name="late", instructions="Is it late?")
TEAM = Choice(name="team", instructions="Which team?", choices=["billing", "parcels"], unsure=True)
HURRY = Score(name="hurry", instructions="How urgent?", minimum=1, maximum=3)
REQUEST = Decide(state={"mail": "My parcels are late."}, questions=[LATE, TEAM, HURRY])
SAID = Decisions(
    answers=[
        answer_to(LATE, {"yes": 0.1, "no": 0.9}),
        answer_to(TEAM, {"billing": 0.05, "parcels": 0.15, "unsure": 0.8}),
        answer_to(HURRY, {"1": 0.0, "2": 1.0, "3": 0.0}),
    ]
)


def test_the_script_decides_in_the_local_lane(fleet, client):
    fleet.answer(Decide, SAID)
    content = client.run(REQUEST).content
    assert [each.chosen for each in content.answers] == ["no", "unsure", "2"]
    assert content["team"].probabilities["unsure"] == pytest.approx(0.8, abs=1e-6)
    assert content["hurry"].score == pytest.approx(2, abs=1e-6)
    assert content.basis == "scored"


def test_the_script_decides_on_bedrock_where_probabilities_are_stated(fleet, client):
    fleet.answer(Decide, lambda request: {"answers": SAID.answers[: len(request.questions)]})
    answer = client.run(REQUEST, egress="allow", lane="bedrock")
    assert (answer.lane, answer.content.basis) == ("bedrock", "stated")
    assert answer.content["late"].probabilities == pytest.approx({"yes": 0.1, "no": 0.9})


@pytest.mark.parametrize("lane", ["local", "bedrock"])
def test_without_a_script_the_text_decides(client, lane):
    answer = client.run(REQUEST, egress="allow", lane=lane)
    assert [each.chosen for each in answer.content.answers] == ["yes", "parcels", "1"]


def test_decisions_that_do_not_fit_the_questions_are_a_bad_answer(fleet, client):
    other = answer_to(LATE.model_copy(update={"name": "other"}), {"yes": 1, "no": 0})
    wrong = answer_to(Choice(name="late", instructions="?", choices=["a", "b"]), {"a": 1, "b": 0})
    for answers in ([other], [wrong], SAID.answers):
        fleet.answer(Decide, answers=answers)
        with pytest.raises(BadAnswer):
            client.run(REQUEST.model_copy(update={"questions": (TEAM, LATE)}))


def test_an_exact_earlier_answer_is_returned_from_the_cache(client):
    first = client.run(REQUEST, cache=True)
    until_cached(client, first)
    again = client.run(REQUEST, cache=True)
    assert again.cached
    assert again.content == first.content


def test_a_repeated_key_with_other_questions_is_refused(client):
    client.run(REQUEST, idempotency_key="one")
    assert client.run(REQUEST, idempotency_key="one").content
    other = REQUEST.model_copy(update={"questions": (LATE,)})
    with pytest.raises(InvalidJob, match="idempotency_key"):
        client.run(other, idempotency_key="one")
