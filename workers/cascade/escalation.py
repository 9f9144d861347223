"""What becomes of a local answer: by its checks, the doubt about it, the pace and the policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from forebay.routing.errors import EngineDied
from forebay.routing.jobs import Check, Classification, Content, Doubt, Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.frontier_status import FrontierStatus
from forebay.routing.limits.pacing import Pacer
from forebay.routing.policy.egress import may_go
from forebay.routing.policy.escalation import NextStep, should_escalate, wants_second
from forebay.routing.policy.frontier_state import Pace
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.reasons import DEGRADING, Reason
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.workers.cascade.answerer import RawAnswer
from forebay.workers.cascade.second_opinion import Backlog, Opinion
from forebay.workers.checks import answer_checks
from forebay.workers.checks.answer_checks import INDISPENSABLE

UNKNOWN = 0.5  # the probability that a local answer will do, where no verdict was given


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer and what its checks say; no content where it cannot even be given as degraded."""

    made: RawAnswer
    content: Content | None
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, job: Job, made: RawAnswer) -> Self:
        """What was made, checked."""
        checks = answer_checks.check(job, made.content, finish=made.finish) if made.content else ()
        unusable = any(check.name in INDISPENSABLE for check in checks if not check.passed)
        return cls(made, None if unusable else made.content, checks)

    @property
    def sound(self) -> bool:
        """It passed all of them."""
        return self.content is not None and all(check.passed for check in self.checks)


class Escalator:
    """Judges the answers of one local worker.

    1. Says whether a second opinion is worth its time (`wants_second`).
    2. Puts together what is known of an answer and asks how much to doubt it (`DoubtModel`).
    3. Asks for the pace, of jobs that may go up (`Pacer`).
    4. Has the policy make a judgement of it all.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._outlook = FrontierStatus(ledger.redis)
        self._pacer = Pacer(ledger.redis)
        self._doubt = DoubtModel.load()
        self._backlog = Backlog(ledger)

    def wants_second(self, claim: Claim, job: Job, slots: int, *, prose: bool) -> bool:
        """Whether this job is to be answered twice; see `wants_second`."""
        if second_best(claim) or suspect(claim):
            return False
        rules, record = self._policy.current(), claim.record
        depth = self._backlog.depth(record.queue) / slots
        state = self._outlook.state(job, rules)
        return wants_second(job, record.verdict, rules, state, depth=depth, prose=prose)

    def judge(self, claim: Claim, job: Job, first: Checked, opinion: Opinion | None) -> NextStep:
        """Keep the answer, or what else becomes of it."""
        rules = self._policy.current()
        state = self._outlook.state(job, rules)
        doubted = self._doubted(claim, first, opinion) if first.sound else None
        if may_go(job, rules, state) and not second_best(claim):
            state = replace(state, pace=self._paced(job, rules, doubted))
        content, checks = first.content, first.checks
        judgement = should_escalate(job, content, checks, rules, state, doubted)
        if judgement.step == "escalate" and second_best(claim):
            # It has been at Bedrock's door already; going round in circles helps nobody.
            return judgement.model_copy(update={"step": "degrade" if content else "fail"})
        return judgement

    def _doubted(self, claim: Claim, first: Checked, opinion: Opinion | None) -> Doubt:
        agreement = opinion.agreement if opinion else None
        known = evidence(claim, first, agreement)
        return Doubt(
            probability=self._doubt.probability(known), agreement=agreement,
            second=opinion.made.model if opinion else None, version=self._doubt.version_for(known),
        )  # fmt: skip

    def _paced(self, job: Job, rules: Policy, doubted: Doubt | None) -> Pace | None:
        if doubted is not None:
            return self._pacer.offer(job, rules, "after", doubted.probability)
        self._pacer.hard(job, rules)
        return None


def evidence(claim: Claim, first: Checked, agreement: float | None) -> Evidence:
    """What is known of an answer that passed its checks."""
    verdict, content = claim.record.verdict, first.content
    return Evidence(
        kind=claim.record.kind,
        verdict_probability=verdict.probability if verdict else UNKNOWN,
        verdict_score=verdict.score if verdict else 0.0,
        agreements=() if agreement is None else (agreement,),
        low_logprob=first.made.low_logprob,
        label_probability=content.probability if isinstance(content, Classification) else None,
    )


def better(
    job: Job, first: Checked, opinion: Opinion | None, said: NextStep
) -> tuple[Checked, NextStep]:
    """Of a job that stays, the second answer where it passes the checks that the first one failed.

    `said` is the judgement of the first, which gives its faults and last why the job stays. Where
    the job may go up it goes: two answers of which one is broken are no reason to trust the other.
    """
    second = Checked.of(job, opinion.made) if opinion and not first.sound else None
    if second is None or not second.sound:
        return first, said
    reasons = (*said.reasons[:-1], Reason.SECOND_KEPT, said.reasons[-1])
    return second, NextStep(step="keep", reasons=reasons)


def second_best(claim: Claim) -> bool:
    """The policy wanted the other lane for this job, and could not have it."""
    return bool(DEGRADING.intersection(claim.record.reasons))


def suspect(claim: Claim) -> bool:
    """An engine died with this job in hand: it may be what killed it."""
    return claim.record.error == EngineDied.code
