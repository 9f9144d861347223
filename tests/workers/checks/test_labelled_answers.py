"""Each check is right on answers that are known to be right or wrong, in many languages."""

import pytest

from labelled_answers import SEED, labelled_answers, scores
from labelled_computed import computed_answers

MIN_PRECISION, MIN_RECALL = 0.97, 0.6

CHECKS = [
    "answers", "distinct", "filled", "grounded", "kind", "label", "length", "names", "numbers",
    "on_topic", "once", "own_words", "present", "regex", "repetition", "schema", "vectors", "whole",
]  # fmt: skip


@pytest.fixture(scope="module")
def answers():
    return labelled_answers()


@pytest.fixture(scope="module")
def scored(answers):
    return scores(answers)


def test_there_are_right_and_wrong_answers_in_many_languages(answers):
    right = [answer for answer in answers if not answer.fault]
    assert len(right) >= 300
    assert len(answers) - len(right) >= 300
    assert {"de", "en", "es", "fr", "it", "ja", "pt", "zh"} <= {each.language for each in right}


def test_every_check_of_the_answers_is_scored(answers, scored):
    names = {each.name for answer in answers for each in answer.checks()}
    assert names == set(CHECKS) == set(scored)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_finds_faults_and_leaves_right_answers_alone(name, scored):
    assert scored[name].precision >= MIN_PRECISION
    assert scored[name].recall >= MIN_RECALL


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(SEED + 1, SEED + 4))
def test_another_seed_gives_the_same_verdicts(seed):
    low = {
        name: (score.precision, score.recall)
        for name, score in scores(labelled_answers(seed)).items()
        if score.precision < MIN_PRECISION or score.recall < MIN_RECALL
    }
    assert low == {}


def test_values_that_are_computed_or_translated_are_right():
    computed = list(computed_answers())
    assert len(computed) >= 60
    for name, score in scores(computed).items():
        assert score.precision >= MIN_PRECISION, name
        assert score.recall >= MIN_RECALL, name
