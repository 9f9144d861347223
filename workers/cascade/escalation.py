"""Escalation: keep the answer, escalate the job, or degrade the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forebay.routing.base import changed
from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Doubt, Job
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.pacing import Offer, Pacer
from forebay.routing.policy.egress import may_go
from forebay.routing.policy.escalation import (
    NextStep,
    least_probability,
    should_escalate,
    without_answer,
)
from forebay.routing.policy.frontier_state import FrontierState
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
        return self.decide_all([doubted])[0]

    def decide_all(self, doubted: Sequence[DoubtedAnswer]) -> list[DecidedAnswer]:
        """Return what becomes of each answer; their pace is asked in one round trip."""
        policy = self._policy.current()
        states = [self._frontier.state(one.compared.attempt.job, policy) for one in doubted]
        offers = {
            place: offer
            for place, (one, state) in enumerate(zip(doubted, states, strict=True))
            if (offer := self._offer(one.compared.attempt, policy, state, one.doubt))
        }
        paces = dict(zip(offers, self._pacer.offer_all(list(offers.values())), strict=True))
        return [
            self._decided(
                one, policy, replace(state, pace=paces[place]) if place in paces else state
            )
            for place, (one, state) in enumerate(zip(doubted, states, strict=True))
        ]

    def _decided(
        self, doubted: DoubtedAnswer, policy: Policy, state: FrontierState
    ) -> DecidedAnswer:
        compared = doubted.compared
        attempt, answer = compared.attempt, compared.answer
        step = should_escalate(
            attempt.job, answer.content, answer.checks, policy, state, doubted.doubt
        )
        if step.step == "escalate" and attempt.degraded:
            step = _stay(step, has_content=answer.content is not None)
        return DecidedAnswer(attempt, answer.raw, answer, compared.opinion, step)

    def least_probability(self, job: Job) -> float:
        """Return the probability from which a label of a job that may not leave is kept."""
        return least_probability("classify", self._policy.current().tenant(job.tenant))

    def without_answer(self, attempt: Attempt, error: InvalidJob) -> Escalated | Failed:
        """Return the outcome of a job that the engine cannot do: it goes up, or fails."""
        policy = self._policy.current()
        state = self._frontier.state(attempt.job, policy)
        self._offer(attempt, policy, state, None)
        step = without_answer(attempt.job, policy, state)
        if step.step == "escalate" and not attempt.degraded:
            return Escalated(",".join(step.reasons), None)
        return Failed(error, step.reasons)

    def _offer(
        self, attempt: Attempt, policy: Policy, state: FrontierState, doubt: Doubt | None
    ) -> Offer | None:
        """Return the offer to the pacing controller of a job that is free to go up.

        An answer that failed its checks goes up anyway: it is counted and not offered.
        """
        if attempt.degraded or not may_go(attempt.job, policy, state):
            return None
        if doubt is None:
            self._pacer.hard(attempt.job, policy)
            return None
        score = doubt.probability if doubt.score is None else doubt.score
        return Offer(attempt.job, policy, "after", score)


def _stay(step: NextStep, *, has_content: bool) -> NextStep:
    """Keep a job here that Bedrock could not take before: it would only come back again."""
    return changed(step, step="degrade" if has_content else "fail")
