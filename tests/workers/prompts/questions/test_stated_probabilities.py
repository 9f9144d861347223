"""From a frontier model's JSON to decisions."""

import json

import pytest

from forebay import BadAnswer, Choice, Decide, Job, Predicate, Score
from forebay.workers.prompts.parsing import parse_answer
from forebay.workers.prompts.questions.stated_probabilities import as_stated

QUESTIONS = [
    Predicate(name="late", instructions="Is it late?", unsure=True),
    Choice(name="team", instructions="Which team?", choices=["a", "b"]),
    Score(name="hurry", instructions="How urgent?", minimum=1, maximum=3),
]
JOB = Job(request=Decide(state="x", questions=QUESTIONS))
GOOD = {
    "q1": [{"option": "yes", "probability": 0.9}, {"option": "unsure", "probability": 0.1}],
    "q2": [{"option": "b", "probability": 1}],
    "q3": [{"option": "2", "probability": 0.52}, {"option": "3", "probability": 0.5}],
}


def read(text):
    return parse_answer(JOB, text if isinstance(text, str) else json.dumps(text))


def test_stated_probabilities_are_read_and_marked():
    decisions = read(f"Here you are:\n```json\n{json.dumps(GOOD)}\n```")
    assert decisions.basis == "stated"
    assert decisions["late"].probabilities == {"yes": 0.9, "no": 0.0, "unsure": 0.1}
    assert decisions["team"].chosen == "b"
    assert sum(decisions["hurry"].probabilities.values()) == pytest.approx(1)
    assert decisions["hurry"].score == pytest.approx((2 * 0.52 + 3 * 0.5) / 1.02)


def test_what_is_stated_is_read_back():
    decisions = read(GOOD)
    assert parse_answer(JOB, as_stated(decisions)) == decisions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q2": None}, "q2 is not a list"),
        ({"q2": []}, "q2 is not a list"),
        ({"q2": {"a": 1}}, "q2 is not a list"),
        ({"q2": ["a"]}, "q2 has a part"),
        ({"q2": [{"option": "a"}]}, "q2 has a part"),
        ({"q2": [{"option": "a", "probability": True}]}, "q2 has a part"),
        ({"q2": [{"option": "a", "probability": "1"}]}, "q2 has a part"),
        ({"q2": [{"option": "a", "probability": 1.4}]}, "q2 has a part"),
        ({"q2": [{"option": "a", "probability": -0.1}]}, "q2 has a part"),
        ({"q2": [{"option": "c", "probability": 1}]}, "q2 names an option"),
        ({"q2": [{"option": "a", "probability": 0.5}] * 2}, "q2 names an option"),
        ({"q2": [{"option": "a", "probability": 0.6}]}, "q2 do not add up"),
        ({"q3": [{"option": 2, "probability": 1}]}, "q3 has a part"),
    ],
)
def test_what_cannot_be_read_says_which_question(change, message):
    with pytest.raises(BadAnswer, match=message):
        read({**GOOD, **change})


@pytest.mark.parametrize("text", ["", "yes", "[]", "{}", "3", '{"q1": '])
def test_what_is_no_such_object_is_a_bad_answer(text):
    with pytest.raises(BadAnswer):
        read(text)
