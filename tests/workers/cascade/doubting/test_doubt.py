"""The doubt step: which evidence is weighed, and when there is none."""

from __future__ import annotations

import pytest

from forebay.routing.scoring.doubt_model import PLAIN
from forebay.workers.cascade.doubting.doubt import UNKNOWN_PROBABILITY, Doubter, evidence
from forebay.workers.cascade.stages import Opinion
from locallane import attempt_of, compared, raw


@pytest.fixture
def doubter(redis):
    return Doubter(redis, b"key")


def test_an_answer_that_failed_its_checks_is_not_doubted(ledger, doubter):
    assert doubter.doubt(compared(attempt_of(ledger), raw(None))).doubt is None
    assert doubter.doubt(compared(attempt_of(ledger), raw("no JSON"))).doubt is None


def test_evidence_is_what_the_verdict_the_tokens_and_the_second_answer_say(ledger, doubter):
    answer = compared(attempt_of(ledger), raw(10), Opinion(raw(9), 0.25))
    known = evidence(answer)
    assert (known.kind, known.verdict_probability, known.verdict_score) == ("extract", 0.7, 0.2)
    assert (known.agreements, known.low_logprob) == ((0.25,), -0.5)


def test_the_agreement_of_a_near_relative_is_evidence_of_its_own(ledger, doubter):
    def doubt(second):
        other = raw(10, model=second)._replace(revision=second)
        answer = compared(attempt_of(ledger), raw(10, model="mistral-7b-v0.3"), Opinion(other, 1.0))
        return evidence(answer).near, doubter.doubt(answer).doubt.probability

    (stranger, low), (relative, high) = doubt("gemma-2-9b-it"), doubt("Mistral-7B-Instruct-v0.2")
    assert (stranger, relative) == ((False,), (True,))
    assert high > low + 0.05


def test_without_a_second_answer_the_plain_rule_holds(ledger, doubter):
    doubt = doubter.doubt(compared(attempt_of(ledger), raw(10))).doubt
    assert (doubt.agreement, doubt.second, doubt.version) == (None, None, PLAIN)
    assert 0 < doubt.probability < UNKNOWN_PROBABILITY


def test_a_second_answer_that_differs_raises_the_doubt(ledger, doubter):
    agreed, differed = (
        doubter.doubt(compared(attempt_of(ledger), raw(10), Opinion(raw(9, model="o"), part))).doubt
        for part in (1.0, 0.0)
    )
    assert agreed.probability < 0.5 < differed.probability
    assert (agreed.second, agreed.agreement, differed.agreement) == ("o", 1.0, 0.0)


def test_an_opinion_that_could_not_be_compared_is_no_evidence(ledger, doubter):
    answer = compared(attempt_of(ledger), raw(10), Opinion(raw("no JSON"), None))
    assert evidence(answer).agreements == ()
    assert doubter.doubt(answer).doubt.second == "m"
