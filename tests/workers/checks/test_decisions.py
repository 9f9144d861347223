"""Decisions: what makes them no answer at all, and how far two of them agree."""

import pytest

from forebay import Choice, Decide, Decisions, Job, Predicate, QuestionAnswer, Score
from forebay.routing.questions.decisions import answer_to
from forebay.workers.checks.agreement import contents
from forebay.workers.checks.answer_checks import INDISPENSABLE, check

LATE = Predicate(name="late", instructions="Is it?", unsure=True)
TEAM = Choice(name="team", instructions="Which?", choices=["a", "b"])
HURRY = Score(name="hurry", instructions="How?", minimum=1, maximum=5)
JOB = Job(request=Decide(state="x", questions=[LATE, TEAM, HURRY]))
GOOD = (
    answer_to(LATE, {"yes": 3, "no": 1, "unsure": 0}),
    answer_to(TEAM, {"a": 1, "b": 2}),
    answer_to(HURRY, {"1": 0, "2": 0, "3": 1, "4": 1, "5": 0}),
)


def failed(*answers):
    return [each.name for each in check(JOB, Decisions(answers=answers)) if not each.passed]


def changed(number, **fields):
    answers = list(GOOD)
    answers[number] = answers[number].model_copy(update=fields)
    return answers


def test_an_answer_to_each_question_from_its_options_passes():
    assert failed(*GOOD) == []


@pytest.mark.parametrize(
    "answers",
    [
        GOOD[:2],
        GOOD[::-1],
        (*GOOD, GOOD[0]),
        changed(0, name="early"),
        changed(0, type="choice"),
        changed(0, probabilities={"yes": 0.5, "no": 0.5}),
        changed(1, probabilities={"a": 0.5, "c": 0.5}, chosen="a"),
        changed(1, probabilities={"a": 0.5, "b": 0.8}),
        changed(1, probabilities={"a": float("nan"), "b": 0.8}),
        changed(1, chosen="c"),
        changed(1, score=1.0),
        changed(2, score=None),
        changed(2, score=0.5),
        changed(2, score=float("nan")),
    ],
)
def test_any_other_answer_is_none(answers):
    assert failed(*answers) == ["questions"]
    assert "questions" in INDISPENSABLE


def agree(one, other):
    return contents(Decisions(answers=[one]), Decisions(answers=[other]))


def late(**weights):
    return answer_to(LATE, {"yes": 0, "no": 0, "unsure": 0} | weights)


def hurry(**weights):
    return answer_to(
        HURRY, dict.fromkeys("12345", 0) | {name[1:]: w for name, w in weights.items()}
    )


def test_the_same_choice_agrees_however_probable():
    assert agree(late(yes=1), late(yes=6, no=5)) == 1
    assert agree(late(yes=1), late(no=1)) == 0
    assert agree(late(yes=1), late(unsure=1)) == 0
    assert agree(late(unsure=1), late(unsure=1)) == 1


def test_scores_agree_by_their_distance():
    assert agree(hurry(_1=1), hurry(_1=1)) == 1
    assert agree(hurry(_1=1), hurry(_5=1)) == 0
    assert agree(hurry(_2=1), hurry(_3=1)) == pytest.approx(0.75)


def test_several_questions_agree_on_average_and_a_missing_one_does_not():
    first = Decisions(answers=GOOD)
    other = Decisions(answers=[late(no=1), *GOOD[1:]])
    assert contents(first, other) == pytest.approx(2 / 3)
    assert contents(first, Decisions(answers=GOOD[:1])) == pytest.approx(1 / 3)
    assert contents(first, first) == 1


def test_an_answer_of_another_kind_is_no_answer():
    answer = QuestionAnswer(
        name="x", type="predicate", chosen="yes", probabilities={"yes": 1.0, "no": 0.0}
    )
    other = Job(request={"kind": "summarize", "text": "x"})
    (found,) = check(other, Decisions(answers=[answer]))
    assert (found.name, found.passed) == ("kind", False)
