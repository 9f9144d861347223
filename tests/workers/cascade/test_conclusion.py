"""The last step: decisions become outcomes, and an answer is shared only once it is settled."""

from __future__ import annotations

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.policy.escalation import NextStep
from forebay.routing.settings import Settings
from forebay.workers.cascade.check import check
from forebay.workers.cascade.conclusion import Conclusion
from forebay.workers.cascade.stages import DecidedAnswer, Opinion
from forebay.workers.runtime.outcomes import Answered, Escalated, Failed
from ledger_jobs import BELL
from locallane import attempt_of, raw


class Cache:
    """Notes what is put into it."""

    def __init__(self) -> None:
        self.answers = []

    def put(self, job, egress, answer):
        self.answers.append((job.id, egress, answer))


class Sampler:
    """Notes which answers it is shown."""

    def __init__(self) -> None:
        self.answers = []

    def take(self, job, answer):
        self.answers.append((job.id, answer))


class Lane:
    """The last step over a cache and a sampler that the test can look into."""

    def __init__(self, redis) -> None:
        self.ledger = Ledger(redis, Settings(), BELL)
        self.cache, self.sampler = Cache(), Sampler()
        self._conclusion = Conclusion(self.cache, self.sampler)

    def conclude(self, first, step, *reasons, opinion=None, attempt=None):
        attempt = attempt or attempt_of(self.ledger)
        checked = check(attempt.job, first)
        next_step = NextStep(step=step, reasons=reasons)
        return self._conclusion.conclude(DecidedAnswer(attempt, first, checked, opinion, next_step))


@pytest.fixture
def lane(redis):
    return Lane(redis)


def test_a_kept_answer_is_shared_only_when_the_ledger_has_it(lane):
    outcome = lane.conclude(raw(10), "keep")
    assert isinstance(outcome, Answered)
    answer = outcome.answer
    assert (answer.lane, answer.model, answer.degraded) == ("local", "m", False)
    assert (lane.cache.answers, lane.sampler.answers) == ([], [])
    outcome.then()
    assert lane.cache.answers == [(answer.id, "allow", answer)]
    assert lane.sampler.answers == [(answer.id, answer)]


def test_an_escalated_job_takes_its_answer_along_as_a_degraded_draft(lane):
    outcome = lane.conclude(raw(None), "escalate", "check_failed:filled", "spillway_wait")
    assert isinstance(outcome, Escalated)
    assert outcome.reason == "check_failed:filled,spillway_wait"
    assert outcome.draft.degraded
    assert lane.conclude(raw("no JSON"), "escalate", "no_answer").draft is None


def test_a_job_without_an_answer_fails_with_its_reasons(lane):
    outcome = lane.conclude(raw("no JSON"), "fail", "no_answer", "egress_denied")
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "bad_answer"
    assert outcome.reasons == ("no_answer", "egress_denied")


def test_an_answer_is_degraded_by_the_decision_or_by_how_the_job_came_here(lane):
    assert lane.conclude(raw(None), "degrade", "check_failed:filled").answer.degraded
    down = attempt_of(lane.ledger, "verdict_hard", "spillway_shut")
    answer = lane.conclude(raw(10), "keep", attempt=down).answer
    assert answer.degraded
    assert answer.reasons == ("verdict_hard", "spillway_shut")


def test_the_tokens_of_both_answers_are_counted(lane):
    opinion = Opinion(raw(10, model="other", tokens=7), 1.0)
    answer = lane.conclude(raw(10), "keep", opinion=opinion).answer
    assert (answer.tokens_in, answer.tokens_out) == (10 + 14, 5 + 7)
    assert answer.checks[-1].note == "agreement 1.00 with other"
