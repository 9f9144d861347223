"""The doubt model: how probable it is that a checked local answer is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import Misconfigured
from forebay.routing.scoring import doubt_model
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence

WEIGHTS = Path(doubt_model.__file__).with_suffix(".json")
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


def test_a_kind_without_weights_uses_the_plain_rule(tmp_path):
    own = json.loads(WEIGHTS.read_text()) | {"kinds": [], "version": "mine-1"}
    path = tmp_path / "doubt.json"
    path.write_text(json.dumps(own))
    bare = DoubtModel.load(path)
    assert bare.version == "mine-1"
    assert bare.probability(KNOWN) == DOUBT.probability(replace(KNOWN, kind="extract"))
    assert bare.probability(KNOWN) != DOUBT.probability(KNOWN)


@pytest.mark.parametrize(
    ("text", "field"), [("{", None), ("{}", "version"), ('{"version": "1", "kinds": 1}', "kinds")]
)
def test_a_file_without_weights_raises_one_clear_error(tmp_path, text, field):
    path = tmp_path / "doubt.json"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=r"doubt\.json") as caught:
        DoubtModel.load(path)
    assert caught.value.field == field
    with pytest.raises(Misconfigured, match="cannot be read"):
        DoubtModel.load(tmp_path / "none.json")
