"""Decisions, asked by OpenAI's own client, and in the format of System One."""

from __future__ import annotations

import openai
import pytest

pytestmark = pytest.mark.slow

TICKET = "My parcels are late, and I am cross."
LATE = {"type": "predicate", "name": "late", "instructions": "Is a parcel late?"}
TEAM = {
    "type": "choice",
    "instructions": [{"type": "input_text", "text": "Which team?"}],
    "choices": [{"value": "billing", "description": "charges"}, {"value": "parcels"}],
}
ANGER = {
    "type": "score",
    "name": "anger",
    "instructions": "How angry?",
    "levels": [{"label": "calm"}, {"label": "cross", "description": "annoyed"}, {"label": "wild"}],
}
QUESTIONS = [LATE, TEAM, ANGER]
NAMED = {
    "late": {"type": "noul", "criteria": {"true": "a parcel is late"}},
    "team": {"type": "choice", "criteria": {"billing": None, "parcels": {"also": ["letters"]}}},
    "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "cross"]},
}


def decide(client, questions=QUESTIONS, given=TICKET, **options):
    return client.decisions.create(input=given, model="auto", questions=questions, **options)


def test_all_types_of_questions_are_answered_in_their_order(openai_client):
    decision = decide(openai_client)
    late, team, anger = decision.answers
    assert (late.type, late.name) == ("predicate", "late")
    assert 0 <= late.probability <= 1
    assert (team.type, team.name, team.choice) == ("choice", None, "parcels")
    shares = {one.value: one.probability for one in team.probabilities}
    assert shares == pytest.approx({"billing": 0.1, "parcels": 0.9})
    assert team.confidence == pytest.approx(0.8)
    assert [(one.value, one.label) for one in anger.probabilities] == [
        (0, "calm"),
        (1, "cross"),
        (2, "wild"),
    ]
    assert anger.score == pytest.approx(1.0)
    assert decision.usage.total_tokens > decision.usage.input_tokens > 0
    assert (decision.model, decision.forebay["kind"]) == ("echo", "decide")


def test_a_choice_may_be_true_or_false(openai_client):
    question = {
        "type": "choice",
        "instructions": "Is that true?",
        "choices": [{"value": True}, {"value": False}],
    }
    (answer,) = decide(openai_client, [question], "It is true.").answers
    assert answer.choice is True
    assert {one.value for one in answer.probabilities} == {True, False}


def test_an_input_may_be_a_conversation_with_tools_and_json(openai_client):
    conversation = [
        {"type": "message", "role": "system", "content": "You sort tickets."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where is it?"},
                {"type": "input_json", "data": {"order": 7}},
            ],
        },
        {"type": "function_call", "call_id": "a", "name": "track", "arguments": '{"order": 7}'},
        {"type": "function_call_output", "call_id": "a", "output": "the parcels are lost"},
    ]
    assert decide(openai_client, [TEAM], conversation).answers[0].choice == "parcels"
    data = [{"role": "user", "content": [{"type": "input_json", "data": {"about": "billing"}}]}]
    assert decide(openai_client, [TEAM], data).answers[0].choice == "billing"


def test_the_router_may_send_questions_up_as_those_of_any_job(openai_client):
    unsure = f"{TICKET} [[echo: confidence=0.4]]"
    decision = decide(openai_client, given=unsure)
    assert decision.forebay["degraded"]
    assert "low_probability" in decision.forebay["reasons"]


IMAGE = {"type": "input_image", "image_url": "https://example.org/a.png"}
ORPHAN = {"type": "function_call_output", "call_id": "b", "output": "x"}
MISTAKES = [
    ({"given": ""}, "input", "invalid_job"),
    ({"given": [{"role": "user", "content": [IMAGE]}]}, "input.0.content", "not_supported"),
    ({"given": [ORPHAN]}, "input.0.call_id", "invalid_request"),
    ({"questions": []}, "questions", "invalid_request"),
    ({"questions": [{**LATE, "type": "box"}]}, "questions.0", "invalid_request"),
    ({"questions": [{**LATE, "instructions": " "}]}, "questions.0.instructions", "invalid_job"),
    ({"questions": [LATE, LATE]}, "questions", "invalid_job"),
    (
        {"questions": [{**TEAM, "choices": [{"value": "a"}, {"value": "x" * 300}]}]},
        "questions.0.choices.1.value",
        "too_long",
    ),
    (
        {"questions": [{**TEAM, "choices": [{"value": True}, {"value": "true"}]}]},
        "questions.0.choices",
        "invalid_job",
    ),
    ({"extra_body": {"model": "forebay/classify"}}, "model", "invalid_request"),
    ({"extra_body": {"audio": ["data:audio/wav;base64,AA=="]}}, "audio", "not_supported"),
    ({"extra_body": {"forebay": {"focus": "x"}}}, "forebay.focus", "invalid_request"),
]


@pytest.mark.parametrize(("options", "param", "code"), MISTAKES)
def test_a_mistake_is_one_error_that_names_the_field(openai_client, options, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        decide(openai_client, **options)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_system_one_answers_by_the_names_of_the_questions(http):
    body = {"model": "local", "state": {"text": TICKET}, "questions": NAMED}
    response = http.post("/v1/systemone", json=body)
    assert response.status_code == 200, response.text
    decision = response.json()
    late, team, anger = (decision["answers"][name] for name in NAMED)
    assert (late["type"], late.keys()) == ("noul", {"type", "noul"})
    assert (team["type"], team["choice"]) == ("choice", "parcels")
    assert team["probabilities"] == pytest.approx({"billing": 0.1, "parcels": 0.9})
    assert anger["legend"] == {"0": "calm", "1": "cross"}
    assert anger["probabilities"].keys() == {"0", "1"}
    assert 0 <= anger["score"] <= 1
    assert decision["usage"]["input_tokens"] > 0
    assert response.headers["forebay-lane"] == "local"


NOUL = {"type": "noul", "instructions": "Is it so?"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"state": ""}, "state"),
        ({"state": None}, "state"),
        ({"questions": {}}, "questions"),
        ({"questions": {"late": {**NOUL, "criteria": {"true": "x" * 3_000}}}},
         "questions.late.criteria.true"),
        ({"questions": {"a": NOUL, "b": {**NOUL, "instructions": " "}}},
         "questions.b.instructions"),
        ({"questions": {"a": {"type": "choice", "criteria": {"x": None}}}},
         "questions.a.criteria"),
        ({"questions": {"a": {"type": "box", "instructions": "the mug"}}}, "questions.a"),
        ({"images": ["https://example.org/a.png"]}, "images"),
        ({"model": "gpt-9"}, "model"),
    ],
)  # fmt: skip
def test_a_mistake_in_system_one_names_the_field(http, changes, param):
    body = {"state": TICKET, "questions": {"late": NOUL}} | changes
    response = http.post("/v1/systemone", json=body)
    assert response.status_code in {400, 404}, response.text
    error = response.json()["error"]
    assert error["param"] == param, error
    assert TICKET not in error["message"]
