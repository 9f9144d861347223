"""The decision: keep, escalate, degrade or fail, under the policy of this moment."""

from __future__ import annotations

import os

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.settings import Settings
from forebay.workers.cascade.doubting.doubt import Doubter
from forebay.workers.cascade.escalation import Escalator
from forebay.workers.cascade.stages import Opinion
from ledger_jobs import BELL
from locallane import attempt_of, compared, raw


@pytest.fixture
def lane(redis, tmp_path):
    """A ledger, an escalator on it, and the policy that it follows."""
    policy = tmp_path / "policy.toml"
    policy.write_text("[defaults]\n")

    class Lane:
        ledger = Ledger(redis, Settings(policy_file=policy), BELL)

        def __init__(self) -> None:
            self.ledger.serve("test", ["bedrock"], 3600)
            frontier = FrontierStatus(redis)
            self._doubter = Doubter(redis, b"key")
            self._escalator = Escalator(self.ledger, PolicyFile(policy), frontier)

        def set_policy(self, text: str) -> None:
            policy.write_text(text)
            os.utime(policy, ns=(0, len(text)))  # another version, also within a tick of the clock

        def decide(self, attempt, first, opinion=None):
            return self._escalator.decide(self._doubter.doubt(compared(attempt, first, opinion)))

    return Lane()


def step(decision) -> tuple[str, tuple[str, ...]]:
    return decision.next_step.step, decision.next_step.reasons


def test_an_answer_that_passed_is_kept_as_it_is(lane):
    attempt = attempt_of(lane.ledger)
    decision = lane.decide(attempt, raw(10))
    assert step(decision) == ("keep", ())
    assert decision.attempt is attempt
    assert decision.first is decision.answer.raw


def test_an_answer_that_failed_its_checks_sends_the_job_up(lane):
    decision = lane.decide(attempt_of(lane.ledger), raw(None))
    assert step(decision) == ("escalate", ("check_failed:filled",))
    assert lane.decide(attempt_of(lane.ledger), raw("no JSON")).next_step.step == "escalate"


def test_a_second_answer_that_differs_sends_the_job_up(lane):
    decision = lane.decide(attempt_of(lane.ledger), raw(10), Opinion(raw(9), 0.0))
    assert step(decision) == ("escalate", ("second_opinion_differs",))
    assert decision.opinion.agreement == 0.0


def test_a_job_that_may_not_leave_is_degraded_or_fails(lane):
    kept_in = attempt_of(lane.ledger, egress="deny")
    assert step(lane.decide(kept_in, raw(None))) == (
        "degrade",
        ("check_failed:filled", "egress_denied"),
    )
    assert lane.decide(kept_in, raw("no JSON")).next_step.step == "fail"


def test_a_job_that_bedrock_could_not_take_does_not_go_up_again(lane):
    down = attempt_of(lane.ledger, "verdict_hard", "spillway_shut")
    assert down.degraded
    assert step(lane.decide(down, raw(None))) == ("degrade", ("check_failed:filled",))
    assert lane.decide(down, raw("no JSON")).next_step.step == "fail"


def test_a_policy_that_changed_while_the_job_was_answered_holds(lane):
    attempt = attempt_of(lane.ledger)
    assert lane.decide(attempt, raw(None)).next_step.step == "escalate"
    lane.set_policy("[defaults]\nforce_deny = true\n")
    assert step(lane.decide(attempt, raw(None))) == (
        "degrade",
        ("check_failed:filled", "tenant_forced_deny"),
    )


@pytest.mark.parametrize(("share", "word"), [(0.0, "keep"), (1.0, "escalate")])
def test_a_pace_target_decides_for_a_job_that_may_go_up(lane, share, word):
    lane.set_policy(f"[defaults.pace]\nshare = {share}\nbefore = 0.0\n")
    assert lane.decide(attempt_of(lane.ledger), raw(10)).next_step.step == word
    down = attempt_of(lane.ledger, "verdict_hard", "spillway_shut")
    assert lane.decide(down, raw(10)).next_step.step == "keep"  # it is not offered
