"""The doubt model: how probable it is that a checked local answer is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence

DOUBT = DoubtModel.load()
KNOWN = Evidence("generate", verdict_probability=0.5, agreements=(1.0,))

chances = st.floats(0, 1)
evidence = st.builds(
    Evidence,
    kind=st.sampled_from(["generate", "classify", "extract", "summarize"]),
    verdict_probability=chances,
    agreements=st.lists(chances, max_size=4).map(tuple),
    low_logprob=st.none() | st.floats(-50, 0),
    label_probability=st.none() | chances,
)


@given(evidence)
def test_doubt_is_a_probability_whatever_evidence_is_missing(known):
    assert 0 <= DOUBT.probability(known) <= 1


@given(evidence, chances)
def test_neither_a_differing_answer_nor_a_worse_verdict_ever_lessens_doubt(known, worse):
    asked = replace(known, agreements=(*known.agreements, 0.5))
    differing = replace(asked, agreements=(*known.agreements, 0.0))
    assert DOUBT.probability(differing) >= DOUBT.probability(asked)
    foreseen = replace(asked, verdict_probability=asked.verdict_probability * worse)
    assert DOUBT.probability(foreseen) >= DOUBT.probability(asked)


@pytest.mark.parametrize("kind", ["generate", "classify", "extract"])
def test_an_answer_that_others_contradict_is_probably_wrong_and_a_shared_answer_is_not(kind):
    shared = replace(KNOWN, kind=kind)
    assert DOUBT.probability(shared) < 0.4
    assert DOUBT.probability(replace(shared, agreements=(0.0,))) > 0.5


def test_each_further_differing_answer_adds_doubt():
    doubts = [
        DOUBT.probability(replace(KNOWN, agreements=agreements))
        for agreements in [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]
    ]
    assert doubts == sorted(doubts)
    assert len(set(doubts)) == 3


@pytest.mark.parametrize(
    "change", [{"low_logprob": -3.0}, {"label_probability": 0.2}, {"verdict_probability": 0.1}]
)
def test_without_a_second_opinion_unsure_tokens_and_a_bad_verdict_add_doubt(change):
    alone = replace(KNOWN, agreements=(), low_logprob=-0.1, label_probability=0.9)
    assert DOUBT.probability(replace(alone, **change)) > DOUBT.probability(alone)


@given(evidence, chances, chances)
def test_models_that_agree_more_often_are_doubted_less_if_they_agree(known, one, other):
    agreeing = replace(known, agreements=(1.0,))
    low, high = sorted((one, other))
    often, seldom = replace(agreeing, rates=(high,)), replace(agreeing, rates=(low,))
    assert DOUBT.probability(often) <= DOUBT.probability(seldom)


def test_a_models_agreement_with_itself_counts_little_and_its_disagreement_in_full():
    other = replace(KNOWN, rates=(0.8,))
    own = replace(other, own=(True,))
    assert DOUBT.probability(own) > DOUBT.probability(other) + 0.15
    differing = replace(own, agreements=(0.0,))
    full = pytest.approx(DOUBT.probability(replace(differing, own=())))
    assert DOUBT.probability(differing) == full
    assert DOUBT.probability(differing) > 0.55


def test_the_agreement_of_a_near_relative_counts_less_than_a_strangers_and_more_than_its_own():
    other = replace(KNOWN, rates=(0.8,))
    near, own = replace(other, near=(True,)), replace(other, own=(True,), near=(True,))
    doubts = [DOUBT.probability(known) for known in (other, near, own)]
    assert doubts[0] + 0.05 < doubts[1] < doubts[2] - 0.05
    differing = replace(near, agreements=(0.0,))
    full = pytest.approx(DOUBT.probability(replace(differing, near=())))
    assert DOUBT.probability(differing) == full


def test_weights_of_an_earlier_release_know_no_relatives(tmp_path):
    weights = json.loads(DoubtModel.packaged.read_text())
    del weights["near"]
    path = tmp_path / "doubt_model.json"
    path.write_text(json.dumps(weights))
    earlier = DoubtModel.load(path)
    near = replace(KNOWN, near=(True,))
    assert earlier.probability(near) == earlier.probability(KNOWN)


def test_wrong_answers_of_few_options_are_more_often_the_same():
    other = replace(KNOWN, rates=(0.8,))
    assert 0.02 < DOUBT.probability(other) < 0.05 < DOUBT.probability(replace(other, bounded=True))


@pytest.mark.parametrize(
    ("text", "field"),
    [("{", "doubt.json"), ("{}", "version"), ('{"version": "1", "agreed": 1}', "agreed")],
)
def test_a_file_without_weights_raises_one_clear_error(tmp_path, text, field):
    path = tmp_path / "doubt.json"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=r"doubt\.json") as caught:
        DoubtModel.load(path)
    assert Path(caught.value.field).name == field
    with pytest.raises(Misconfigured, match="cannot be read"):
        DoubtModel.load(tmp_path / "none.json")
