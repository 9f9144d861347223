"""Doubt: what speaks against a local answer that passed its checks."""

from dataclasses import replace

import pytest

from workers.doubt import Doubt, Evidence

DOUBT = Doubt.load()
KNOWN = Evidence("generate", verdict_probability=0.7, agreements=(1.0,), tokens_out=40)


def test_an_answer_that_differs_is_doubted_and_one_that_is_shared_is_not():
    assert DOUBT.probability(KNOWN) < 0.2
    assert DOUBT.probability(replace(KNOWN, agreements=(0.0,))) > 0.5


def test_more_that_differ_is_more_doubt():
    doubts = [
        DOUBT.probability(replace(KNOWN, agreements=agreements))
        for agreements in [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]
    ]
    assert doubts == sorted(doubts)
    assert len(set(doubts)) == 3


@pytest.mark.parametrize(
    "change", [{"low_logprob": -3.0}, {"label_probability": 0.2}, {"verdict_probability": 0.1}]
)
def test_hesitant_tokens_and_a_bad_verdict_are_doubt_where_nobody_was_asked(change):
    alone = replace(KNOWN, agreements=(), low_logprob=-0.1, label_probability=0.9)
    assert DOUBT.probability(replace(alone, **change)) > DOUBT.probability(alone)
