"""Scores of options from a few questions to a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.engines.tokens.option_trie import OptionTrie

ENDS = (0,)
PATHS = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
WAYS = st.lists(PATHS, min_size=1, max_size=6, unique=True)


def model_logprobs(place, sharpness=1.0):
    """Return log-probabilities for a place: random, but the same each time."""
    logits = np.random.default_rng(hash(place) % 2**32).normal(0, sharpness, 6)
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def ask_all(trie, sharpness=1.0):
    """Answer all questions of the trie, and return how many there were."""
    questions = 0
    while trie.place is not None:
        trie.tell(model_logprobs(trie.place, sharpness))
        questions += 1
    return questions


@given(WAYS)
def test_scores_are_the_chances_of_a_walk_that_is_held_to_the_options(paths):
    trie = OptionTrie([(str(path), path) for path in paths], ENDS)
    questions = ask_all(trie)
    scores = trie.scores()
    assert scores.keys() == {str(path) for path in paths}
    assert math.fsum(map(math.exp, scores.values())) == pytest.approx(1)
    assert questions < len(paths) or len(paths) == 1
    for path in paths:
        expected = chance(path, paths)
        if expected > 1e-2:  # fainter branches may be shared out evenly
            assert math.exp(scores[str(path)]) == pytest.approx(expected, rel=0.15)


def chance(path, paths):
    """Return the probability of a path, from a question at each of its tokens."""
    share = 1.0
    for at in range(len(path) + 1):
        rivals = [other for other in paths if other[:at] == path[:at]]
        weights = {}
        for rival in rivals:
            token = rival[at] if len(rival) > at else ENDS[0]
            weights[token] = math.exp(model_logprobs(path[:at])[token])
        token = path[at] if len(path) > at else ENDS[0]
        share *= weights[token] / sum(weights.values())
    return share


def test_labels_whose_first_tokens_differ_take_one_question():
    trie = OptionTrie([("a", (1, 4, 4)), ("b", (2, 4)), ("c", (3,))], ENDS)
    assert trie.place == ()
    assert ask_all(trie) == 1


def test_a_common_beginning_takes_no_question():
    trie = OptionTrie([("a", (1, 2, 3)), ("b", (1, 2, 4))], ENDS)
    assert trie.place == (1, 2)


def test_a_single_option_is_certain_without_a_question():
    trie = OptionTrie([("a", (1,)), ("a", (2, 1))], ENDS)
    assert trie.place is None
    assert trie.scores() == {"a": 0.0}


def test_ways_to_one_option_add_up():
    trie = OptionTrie([("a", (1,)), ("a", (2,)), ("b", (3,))], ENDS)
    row = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    trie.tell(row)
    assert math.exp(trie.scores()["a"]) == pytest.approx(0.5 / 0.9, abs=1e-5)


def test_faint_branches_take_no_question_and_the_scores_still_add_up():
    ways = [("a", (1,)), ("b", (2, 1)), ("c", (2, 2))]
    trie = OptionTrie(ways, ENDS)
    trie.tell(np.array([-9, 0, -9, -9], dtype=np.float32))
    assert trie.place is None
    assert trie.scores()["b"] == trie.scores()["c"]
    assert math.fsum(map(math.exp, trie.scores().values())) == pytest.approx(1)


def test_options_are_equal_if_the_model_rules_all_of_them_out():
    trie = OptionTrie([("a", (1,)), ("b", (2,))], ENDS)
    trie.tell(np.full(4, -np.inf, dtype=np.float32))
    assert trie.scores()["a"] == trie.scores()["b"] == pytest.approx(math.log(0.5))
