"""The answers to questions: probabilities, the mean of a score, and how certain an answer is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay import Choice, Decisions, Predicate, Score
from forebay.routing.questions.decisions import answer_to

LATE = Predicate(name="late", instructions="Is it?", unsure=True)
TEAM = Choice(name="team", instructions="Which?", choices=["a", "b", "c"])
HURRY = Score(name="hurry", instructions="How?", minimum=1, maximum=5, unsure=True)
weights = st.floats(0, 1e9)


@given(st.sampled_from([LATE, TEAM, HURRY]), st.data())
def test_probabilities_add_up_and_the_most_probable_option_is_chosen(question, data):
    given_weights = {option: data.draw(weights) for option in question.options}
    answer = answer_to(question, given_weights)
    assert list(answer.probabilities) == list(question.options)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.probability == max(answer.probabilities.values())
    assert 0 <= answer.confidence <= 1
    assert 0 <= answer.certainty <= 1
    assert (answer.score is None) == (answer.type != "score")
    assert answer.score is None or 1 <= answer.score <= 5


def test_a_score_is_the_mean_over_its_levels_without_unsure():
    answer = answer_to(HURRY, {"1": 1, "2": 0, "3": 0, "4": 1, "5": 0, "unsure": 98})
    assert answer.chosen == "unsure"
    assert answer.score == pytest.approx(2.5)
    named = Score(name="a", instructions="b", levels=["low", "mid", "high"])
    assert answer_to(named, {"low": 0, "mid": 1, "high": 3}).score == pytest.approx(1.75)


def test_confidence_is_0_for_a_guess_and_1_for_certainty():
    assert answer_to(TEAM, dict.fromkeys("abc", 1)).confidence == pytest.approx(0)
    assert answer_to(TEAM, {"a": 1, "b": 0, "c": 0}).confidence == 1
    ends = {"1": 1, "2": 0, "3": 0, "4": 0, "5": 1, "unsure": 0}
    assert answer_to(HURRY, ends).confidence == pytest.approx(0)
    assert answer_to(HURRY, {**ends, "1": 0}).confidence == 1


def test_unsure_is_not_certain_and_a_narrow_score_is():
    assert answer_to(LATE, {"yes": 1, "no": 0, "unsure": 9}).certainty == pytest.approx(0.1)
    narrow = {"1": 0, "2": 1, "3": 1, "4": 0, "5": 0, "unsure": 0}
    assert answer_to(HURRY, narrow).certainty == pytest.approx(0.75)
    assert answer_to(HURRY, {**narrow, "unsure": 2}).certainty == pytest.approx(0.375)
    assert answer_to(HURRY, dict.fromkeys(HURRY.options, 1)).certainty < 0.3


def test_the_least_certain_answer_counts_unless_it_was_only_stated():
    answers = (
        answer_to(LATE, {"yes": 9, "no": 1, "unsure": 0}),
        answer_to(TEAM, {"a": 2, "b": 1, "c": 1}),
    )
    assert Decisions(answers=answers).probability == pytest.approx(0.5)
    assert Decisions(answers=answers, basis="stated").probability is None


def test_answers_are_found_by_name():
    decisions = Decisions(answers=[answer_to(LATE, {"yes": 1, "no": 0, "unsure": 0})])
    assert decisions["late"].chosen == "yes"
    with pytest.raises(KeyError):
        decisions["early"]


def test_decisions_survive_the_wire_in_the_order_of_their_options():
    decisions = Decisions(answers=[answer_to(TEAM, {"a": 1, "b": 5, "c": 2})])
    again = Decisions.model_validate_json(decisions.model_dump_json())
    assert again == decisions
    assert list(again["team"].probabilities) == ["a", "b", "c"]
