"""The questions of a `Decide` request: what they accept, and what a mistake says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay import Choice, Decide, InvalidJob, Label, Predicate, Score, TooLong
from forebay.routing.base import MAX_TEXT
from forebay.routing.jobs import json_schema, parse_job
from forebay.routing.questions.questions import MAX_OPTIONS, MAX_QUESTION_CHARS, MAX_QUESTIONS
from forebay.routing.questions.state import MAX_STATE_DEPTH, MAX_STATE_PARTS

LATE = {"type": "predicate", "name": "late", "instructions": "Is it late?"}
TEAM = {"type": "choice", "name": "team", "instructions": "Which?", "choices": ["a", "b"]}
HURRY = {"type": "score", "name": "hurry", "instructions": "How?"}


def decide(**changes):
    return parse_job({"request": {"kind": "decide", "state": "x", "questions": [LATE], **changes}})


def nested(levels):
    state = "deep"
    for _ in range(levels):
        state = [state]
    return state


def test_options_come_in_order_and_unsure_is_the_last():
    assert Predicate(name="a", instructions="b").options == ("yes", "no")
    choice = Choice(name="a", instructions="b", choices=["z", Label(name="y")], unsure=True)
    assert choice.options == ("z", "y", "unsure")
    levels = Score(name="a", instructions="b", levels=["low", "high"])
    assert (levels.options, levels.values) == (("low", "high"), (0, 1))
    span = Score(name="a", instructions="b", minimum=-1, maximum=1, unsure=True)
    assert (span.options, span.values) == (("-1", "0", "1", "unsure"), (-1, 0, 1))


def test_what_yes_and_no_mean_is_the_description_of_their_labels():
    question = Predicate(name="a", instructions="b", yes="it is so", no="it is not")
    assert [label.description for label in question.labels] == ["it is so", "it is not"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
        max_leaves=8,
    ).filter(lambda state: isinstance(state, list | dict) and state)
)
def test_a_state_of_json_survives_the_wire(state):
    try:
        job = decide(state=state)
    except InvalidJob:
        with pytest.raises((ValueError, UnicodeEncodeError)):  # what JSON or UTF-8 cannot hold
            json.dumps(state, allow_nan=False, ensure_ascii=False).encode()
        return
    assert parse_job(job.model_dump_json()).request == job.request
    assert json.loads(job.request.state_text) == job.request.state


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"state": 3}, "state", "must be text, or an object or a list"),
        ({"state": None}, "state", "must be text, or an object or a list"),
        ({"state": " \n"}, "state", "must not be empty"),
        ({"state": []}, "state", "must not be empty"),
        ({"state": [float("nan")]}, "state", "must hold only what JSON can hold"),
        ({"state": {"a": object()}}, "state", "must hold only what JSON can hold"),
        ({"state": ["\ud800"]}, "state", "must hold only what JSON can hold"),
        ({"state": "\ud800"}, "state", "must be text that UTF-8 can encode"),
        ({"questions": []}, "questions", "must have at least 1 item"),
        ({"questions": [LATE, {**TEAM, "name": "LATE "}]}, "questions", "have the same name"),
        ({"questions": [{**LATE, "type": "nool"}]}, "questions.0.type", "must be one of predicate"),
        ({"questions": [{"name": "x"}]}, "questions.0.type", "must be one of predicate"),
        ({"questions": [{"type": {"a": 1}}]}, "questions.0.type", "must be one of predicate"),
        ({"questions": [3]}, "questions.0", "must be an object"),
        ({"questions": [LATE, {**TEAM, "choices": ["a"]}]}, "questions.1.choices", "at least 2"),
        ({"questions": [{**TEAM, "choices": ["a", "A"]}]}, "questions.0.choices", "same name"),
        ({"questions": [{**TEAM, "choices": ["a", 3]}]}, "questions.0.choices.1", "must be text"),
        (
            {"questions": [{**TEAM, "choices": ["a", {"nam": "b"}]}]},
            "questions.0.choices.1.nam", "did you mean name",
        ),
        ({"questions": [{**LATE, "labels": 3}]}, "questions.0.labels", "not a field of predicate"),
        ({"questions": [{**LATE, "instructions": " "}]}, "questions.0.instructions", "blank"),
        (
            {"questions": [{**TEAM, "choices": ["a", "Unsure"], "unsure": True}]},
            "questions.0", "has an option called unsure",
        ),
        ({"questions": [HURRY]}, "questions.0", "needs levels, or both minimum and maximum"),
        ({"questions": [{**HURRY, "minimum": 1}]}, "questions.0", "needs levels, or both"),
        ({"questions": [{**HURRY, "levels": ["a"]}]}, "questions.0", "at least 2 levels"),
        ({"questions": [{**HURRY, "minimum": 1, "maximum": 12}]}, "questions.0", "1 to 10 above"),
        ({"questions": [{**HURRY, "minimum": 3, "maximum": 3}]}, "questions.0", "1 to 10 above"),
        (
            {"questions": [{**HURRY, "levels": ["a", "b"], "maximum": 3}]},
            "questions.0", "neither minimum nor maximum",
        ),
        (
            {"questions": [{**HURRY, "minimum": 0, "maximum": 1.5}]},
            "questions.0.maximum", "whole number",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_the_field_and_the_fix(changes, field, message):
    with pytest.raises(InvalidJob) as caught:
        decide(**changes)
    assert caught.value.field == field
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"state": "x" * (MAX_TEXT + 1)}, "state"),
        ({"state": ["x" * MAX_TEXT]}, "state"),
        ({"state": [0] * MAX_STATE_PARTS}, "state"),
        ({"state": nested(MAX_STATE_DEPTH)}, "state"),
        ({"state": nested(5_000)}, "state"),
        (
            {"questions": [{**LATE, "name": str(n)} for n in range(MAX_QUESTIONS + 1)]},
            "questions",
        ),
        (
            {
                "questions": [
                    {**TEAM, "name": str(n), "choices": [str(option) for option in range(250)]}
                    for n in range(MAX_OPTIONS // 250 + 1)
                ]
            },
            "questions",
        ),
        (
            {
                "questions": [
                    {**LATE, "name": str(n), "instructions": "x" * 4_000}
                    for n in range(MAX_QUESTION_CHARS // 4_000 + 1)
                ]
            },
            "questions",
        ),
    ],
)
def test_what_is_too_large_is_refused(changes, field):
    with pytest.raises(TooLong) as caught:
        decide(**changes)
    assert caught.value.field == field


def test_the_largest_state_and_the_most_questions_are_accepted():
    questions = [{**LATE, "name": str(n)} for n in range(MAX_QUESTIONS)]
    job = decide(state=nested(MAX_STATE_DEPTH - 1), questions=questions)
    assert len(job.request.questions) == MAX_QUESTIONS
    assert len(decide(state="x" * MAX_TEXT).request.state) == MAX_TEXT


def test_no_content_of_a_question_is_in_a_repr_or_an_error():
    question = {**TEAM, "name": "canary", "instructions": "canary", "choices": ["canary 1", "b"]}
    assert "canary" not in repr(decide(state={"canary": "canary"}, questions=[question]))
    with pytest.raises(InvalidJob) as caught:
        decide(state={"canary": {1, 2}}, questions=[question])
    assert "canary" not in str(caught.value)


def test_the_schema_describes_the_questions_by_their_type():
    questions = json_schema()["$defs"]["Decide"]["properties"]["questions"]["items"]
    assert set(questions["discriminator"]["mapping"]) == {"predicate", "choice", "score"}


def test_a_request_is_made_of_lists_and_mappings_as_well():
    request = Decide(state=("a", "b"), questions=[LATE, TEAM])
    assert request.state == ["a", "b"]
    assert isinstance(request.questions, tuple)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"kind": nested(5_000)},
        {"kind": "decide", "state": "x", "questions": [{"type": nested(5_000)}]},
    ],
)
def test_a_tag_that_is_a_deep_document_is_refused_in_silence(request_fields, capfd):
    with pytest.raises(InvalidJob, match="must be one of"):
        parse_job({"request": request_fields})
    assert capfd.readouterr() == ("", "")
