"""Escalation: keep the answer, escalate the job, or degrade the answer."""

from __future__ import annotations

from dataclasses import replace

from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Doubt, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.pacing import Pacer
from forebay.routing.policy.egress import may_go
from forebay.routing.policy.escalation import NextStep, should_escalate, without_answer
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.workers.cascade.stages import DecidedAnswer, DoubtedAnswer
from forebay.workers.runtime.attempt import Attempt
from forebay.workers.runtime.outcomes import Escalated, Failed


class Escalator:
    """Decides what becomes of the answers of one local worker.

    1. Asks how it looks on Bedrock (`FrontierStatus`), and under the policy of this moment: it may
       have changed while the answer was generated.
    2. Asks for the pace, if the job may go up (`Pacer`).
    3. Has the policy decide (`should_escalate`).
    """

    def __init__(self, ledger: Ledger, policy: PolicyFile, frontier: FrontierStatus) -> None:
        self._policy = policy
        self._frontier = frontier
        self._pacer = Pacer(ledger.redis)

    def decide(self, doubted: DoubtedAnswer) -> DecidedAnswer:
        """Return what becomes of the answer."""
        compared, policy = doubted.compared, self._policy.current()
        attempt, answer = compared.attempt, compared.answer
        state = self._state(attempt, policy, doubted.doubt)
        step = should_escalate(
            attempt.job, answer.content, answer.checks, policy, state, doubted.doubt
        )
        if step.step == "escalate" and attempt.degraded:
            step = _stay(step, has_content=answer.content is not None)
        return DecidedAnswer(attempt, answer.raw, answer, compared.opinion, step)

    def without_answer(self, attempt: Attempt, error: InvalidJob) -> Escalated | Failed:
        """Return the outcome of a job that the engine cannot do: it goes up, or fails."""
        policy = self._policy.current()
        state = self._state(attempt, policy, None)
        step = without_answer(attempt.job, policy, state)
        if step.step == "escalate" and not attempt.degraded:
            return Escalated(",".join(step.reasons), None)
        return Failed(error, step.reasons)

    def _state(self, attempt: Attempt, policy: Policy, doubt: Doubt | None) -> FrontierState:
        """Return the state of the frontier, with the pace if the job may go up."""
        state = self._frontier.state(attempt.job, policy)
        if attempt.degraded or not may_go(attempt.job, policy, state):
            return state
        return replace(state, pace=self._pace(attempt.job, policy, doubt))

    def _pace(self, job: Job, policy: Policy, doubt: Doubt | None) -> Pace | None:
        """Offer the job to the pacing controller; an answer that failed its checks goes anyway."""
        if doubt is not None:
            score = doubt.probability if doubt.score is None else doubt.score
            return self._pacer.offer(job, policy, "after", score)
        self._pacer.hard(job, policy)
        return None


def _stay(step: NextStep, *, has_content: bool) -> NextStep:
    """Keep a job here that Bedrock could not take before: it would only come back again."""
    return step.model_copy(update={"step": "degrade" if has_content else "fail"})
