"""Scores of options from what a model says at a few places."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.engines.tokens.option_trie import OptionTree

ENDS = (0,)
PATHS = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
WAYS = st.lists(PATHS, min_size=1, max_size=6, unique=True)


def said(place, sharpness=1.0):
    """What a model says at a place: anything, but always the same."""
    logits = np.random.default_rng(hash(place) % 2**32).normal(0, sharpness, 6)
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def asked(tree, sharpness=1.0):
    questions = 0
    while tree.place is not None:
        tree.tell(said(tree.place, sharpness))
        questions += 1
    return questions


@given(WAYS)
def test_shares_are_the_chances_of_a_walk_that_is_held_to_the_options(paths):
    tree = OptionTree([(str(path), path) for path in paths], ENDS)
    questions = asked(tree)
    scores = tree.scores()
    assert scores.keys() == {str(path) for path in paths}
    assert math.fsum(map(math.exp, scores.values())) == pytest.approx(1)
    assert questions < len(paths) or len(paths) == 1
    for path in paths:
        expected = chance(path, paths)
        if expected > 1e-2:  # what is fainter may be shared out evenly
            assert math.exp(scores[str(path)]) == pytest.approx(expected, rel=0.15)


def chance(path, paths):
    share = 1.0
    for at in range(len(path) + 1):
        rivals = [one for one in paths if one[:at] == path[:at]]
        weights = {}
        for one in rivals:
            token = one[at] if len(one) > at else ENDS[0]
            weights[token] = math.exp(said(path[:at])[token])
        token = path[at] if len(path) > at else ENDS[0]
        share *= weights[token] / sum(weights.values())
    return share


def test_labels_that_part_at_once_take_one_question():
    tree = OptionTree([("a", (1, 4, 4)), ("b", (2, 4)), ("c", (3,))], ENDS)
    assert tree.place == ()
    assert asked(tree) == 1


def test_a_common_beginning_is_not_asked_about():
    tree = OptionTree([("a", (1, 2, 3)), ("b", (1, 2, 4))], ENDS)
    assert tree.place == (1, 2)


def test_a_single_option_is_certain_without_a_question():
    tree = OptionTree([("a", (1,)), ("a", (2, 1))], ENDS)
    assert tree.place is None
    assert tree.scores() == {"a": 0.0}


def test_ways_to_one_option_add_up():
    tree = OptionTree([("a", (1,)), ("a", (2,)), ("b", (3,))], ENDS)
    row = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    tree.tell(row)
    assert math.exp(tree.scores()["a"]) == pytest.approx(0.5 / 0.9, abs=1e-5)


def test_faint_branches_are_not_asked_about_and_all_still_add_up():
    ways = [("a", (1,)), ("b", (2, 1)), ("c", (2, 2))]
    tree = OptionTree(ways, ENDS)
    tree.tell(np.array([-9, 0, -9, -9], dtype=np.float32))
    assert tree.place is None
    assert tree.scores()["b"] == tree.scores()["c"]
    assert math.fsum(map(math.exp, tree.scores().values())) == pytest.approx(1)


def test_a_model_that_rules_all_out_leaves_them_equal():
    tree = OptionTree([("a", (1,)), ("b", (2,))], ENDS)
    tree.tell(np.full(4, -np.inf, dtype=np.float32))
    assert tree.scores()["a"] == tree.scores()["b"] == pytest.approx(math.log(0.5))
