"""Recall: an exact earlier answer becomes this job's own."""

from __future__ import annotations

import pytest

from forebay.routing.jobs import Answer, Extraction
from forebay.routing.store.answer_cache import AnswerCache
from forebay.workers.cascade.recall import Recall
from locallane import LIKELY, attempt_of


class FakeAnswerer:
    """Answers every job with one model."""

    def signature(self, _job):
        return "m", "r"


@pytest.fixture
def recall(ledger):
    """A recall whose cache holds the answer to the job that the tests ask again."""
    cache = AnswerCache(ledger.redis, b"0123456789abcdef", 60)
    first = attempt_of(ledger, cache=True)
    content = Extraction(data={"total": 10})
    heading = first.claim.record.heading()
    answer = Answer(
        **heading, status="done", lane="local", reasons=("verdict_easy",), model="m", revision="r",
        tokens_out=5, content=content,
    )  # fmt: skip
    assert cache.put(first.job, "allow", answer)
    return Recall(cache, FakeAnswerer())


def test_a_job_that_wants_no_earlier_answer_gets_none(ledger, recall):
    assert recall.recall(attempt_of(ledger)) is None


def test_an_earlier_answer_has_this_jobs_id_reasons_and_verdict(ledger, recall):
    attempt = attempt_of(ledger, "pace_stays", cache=True)
    answer = recall.recall(attempt).answer
    assert (answer.id, answer.cached, answer.tokens_out) == (attempt.job.id, True, 0)
    assert answer.reasons == ("pace_stays", "cached")
    assert (answer.verdict, answer.degraded) == (LIKELY, False)


def test_an_earlier_answer_is_degraded_if_the_policy_wanted_bedrock(ledger, recall):
    attempt = attempt_of(ledger, "verdict_hard", "budget_spent", cache=True)
    assert recall.recall(attempt).answer.degraded


def test_another_egress_finds_nothing(ledger, recall):
    assert recall.recall(attempt_of(ledger, cache=True, egress="deny")) is None
