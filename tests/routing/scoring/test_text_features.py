"""The inputs of the text model: features, hashed n-grams and trees; bounded and reproducible."""

import math
from operator import mul

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.scoring import hashed_ngrams
from forebay.routing.scoring.text_features import HEAD, TAIL, TEXT_FEATURES, Glance, text_features
from forebay.routing.scoring.text_model import Grams, Head
from forebay.routing.scoring.trees import LEAF, Forest, Node

STUMP = [Node(0, 1.5, 2), Node(LEAF, -1.0, 0), Node(LEAF, 2.0, 0)]
DEEP = [
    Node(1, 0.0, 4),
    Node(0, 0.5, 3),
    Node(LEAF, 1.0, 0),
    Node(LEAF, 2.0, 0),
    Node(LEAF, 4.0, 0),
]

# --- features -----------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_any_text_has_finite_features_in_a_fixed_order(text):
    features = text_features(text)
    assert list(features) == list(TEXT_FEATURES)
    assert all(map(math.isfinite, features.values()))


def test_only_the_start_and_the_end_of_a_long_text_are_read():
    glance = Glance("a" * HEAD + "z" * 400_000 + "b" * TAIL)
    assert "z" not in glance.seen
    assert len(glance.seen) == HEAD + TAIL + 1
    assert glance.length == HEAD + 400_000 + TAIL


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [
        ("options", "which one?", "which one?\nA. this\nB. that"),
        ("decimals", "12 and 7", "1.5 and 7"),
        ("digits", "1 and 2", "1234 and 2"),
        ("acronyms", "a nasa car", "a NASA car"),
        ("negation_words", "it is so", "it is not so"),
        ("last_line", "a long text\nso", "so\na long text"),
        ("sum", "12 and 7", "how much are 12 and 7"),
    ],
)
def test_a_feature_grows_with_the_thing_it_counts(name, less, more):
    assert text_features(less)[name] < text_features(more)[name]


# --- hashed n-grams -----------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_ngrams_hashed_together_get_the_same_bins_as_each_alone(text):
    line = f" {' '.join(hashed_ngrams.words_read(text))} ".encode()[: hashed_ngrams.MAX_CHARS_READ]
    alone = {
        sum(map(mul, line[at : at + size], hashed_ngrams.FACTORS)) >> hashed_ngrams.SHIFT
        & hashed_ngrams.BINS - 1
        for size in (3, 4, 5)
        for at in range(len(line) - size + 1)
    }
    assert alone <= hashed_ngrams.hashed_ngrams(text)
    assert len(hashed_ngrams.hashed_ngrams(text) - alone) <= 2 * len(line.split())
    assert all(0 <= each < hashed_ngrams.BINS for each in hashed_ngrams.hashed_ngrams(text))


def test_bins_depend_on_words_their_order_and_their_parts_but_not_on_case():
    assert hashed_ngrams.hashed_ngrams("Pump STOPPED") == hashed_ngrams.hashed_ngrams(
        "pump stopped"
    )
    assert hashed_ngrams.hashed_ngrams("pump stopped") != hashed_ngrams.hashed_ngrams(
        "stopped pump"
    )
    shared = hashed_ngrams.hashed_ngrams("pumps") & hashed_ngrams.hashed_ngrams("pump")
    assert len(shared) >= 5
    assert hashed_ngrams.hashed_ngrams(
        "a" * hashed_ngrams.MAX_CHARS_READ + " tail"
    ) == hashed_ngrams.hashed_ngrams("a" * hashed_ngrams.MAX_CHARS_READ)


def test_the_bins_of_this_version_do_not_drift():
    """Weights are worthless under other hashes; change both together."""
    assert sorted(hashed_ngrams.hashed_ngrams("pump")) == DRIFT


DRIFT = [2941, 3183, 3556, 4309, 4364, 5814, 8139, 11567, 12781, 14562]


def test_the_vector_of_a_text_has_unit_length_however_long_the_text_is():
    packed = Grams.pack([1.0] * hashed_ngrams.BINS)
    assert packed(frozenset(range(100))) == pytest.approx(10.0)
    assert packed(frozenset()) == 0


def test_packed_weights_are_rounded_to_one_step():
    weights = [math.sin(each) for each in range(hashed_ngrams.BINS)]
    packed = Grams.pack(weights)
    for first, second in ((0, 1), (77, 5), (hashed_ngrams.BINS - 1, 40)):
        both = (weights[first] + weights[second]) / math.sqrt(2)
        assert packed(frozenset({first, second})) == pytest.approx(both, abs=packed.step)


@pytest.mark.parametrize("packed", ["", "####", "aGVsbG8=", "eNqrBwAAgACA"])
def test_a_text_that_holds_no_packed_weights_is_refused(packed):
    with pytest.raises(ValueError, match="must hold 16384 packed weights"):
        Grams(step=1.0, packed=packed)


# --- trees --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "output"),
    [([1.5, 1.0], 3.0), ([1.6, 1.0], 6.0), ([0.5, 0.0], 0.0), ([2.0, -1.0], 4.0)],
)
def test_the_output_of_trees_is_the_sum_of_the_leaves_reached(features, output):
    assert Forest([STUMP, DEEP])(features) == output


def test_trees_are_the_same_after_packing_and_unpacking():
    forest = Forest([STUMP, DEEP])
    unpacked = Forest.unpack(forest.pack())
    assert unpacked.trees == forest.trees
    assert unpacked.width() == 2


def test_trees_that_a_walk_cannot_end_in_are_refused():
    for tree in ([], [Node(0, 1.0, 0)], [Node(0, 1.0, 9), Node(LEAF, 1.0, 0)], [Node(-2, 1.0, 0)]):
        with pytest.raises(ValueError, match=r"must hold (no empty tree|trees in which)"):
            Forest([tree])


@pytest.mark.parametrize("packed", ["", "####", "aGVsbG8="])
def test_a_text_that_holds_no_packed_trees_is_refused(packed):
    with pytest.raises(ValueError, match="must hold packed trees"):
        Forest.unpack(packed)


def test_a_head_refuses_trees_or_weights_that_do_not_fit_the_features():
    wide = Forest([[Node(100, 1.0, 2), Node(LEAF, 0.0, 0), Node(LEAF, 1.0, 0)]]).pack()
    flat = dict.fromkeys(TEXT_FEATURES, 0.0)
    grams = Grams.pack([0.0] * hashed_ngrams.BINS)
    with pytest.raises(ValueError, match="no more features than there are"):
        Head(grams=grams, features=flat, trees=wide)
    with pytest.raises(ValueError, match="a weight for each text feature"):
        Head(grams=grams, features={}, trees=Forest([]).pack())
