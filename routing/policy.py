"""Where a job goes and whether its answer will do: pure functions of what is known.

`choose_lane` decides before the answer, `should_escalate` after it, both by the `Policy` that
operators write (`routing.policyfile`). Every branch has its reason code (`routing.reasons`).
Neither sends anything; the ledger and the bedrock worker check egress again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from routing.errors import EgressDenied
from routing.jobs import Check, Classification, Content, Job, Verdict
from routing.lanes import BEDROCK, Lane
from routing.policyfile import Policy, PolicyFile, TenantPolicy
from routing.reasons import DEGRADING, Reason
from routing.wire import NANO, Egress, Wire


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the world when a decision is made.

    Attributes:
        spillway: `shut` while calls to Bedrock fail.
        budget_left_nusd: the least that is left of the budgets the job falls under, in billionths
            of a dollar; none where there is no limit.
        call_nusd: the most one call for this job can cost; 0 where it is not known.
        secret: a secret was found in the job's content.
    """

    spillway: Literal["open", "shut"] = "open"
    budget_left_nusd: int | None = None
    call_nusd: int = 0
    secret: bool = False


class Decision(Wire):
    """What the policy makes of job, verdict and state.

    Attributes:
        model: the model on Bedrock to call; none in the local lane.
        threshold, probability, version: what the verdict was held against, where one was.
    """

    lane: Lane
    queue: str
    reason: Reason
    model: str | None = None
    threshold: float | None = None
    probability: float | None = None
    version: str | None = None

    @property
    def degraded(self) -> bool:
        """The policy wanted the other lane and could not have it; the answer must say so."""
        return self.reason in DEGRADING


class Judgement(Wire):
    """What becomes of a local answer.

    Attributes:
        step: `keep` it; `escalate` the job to Bedrock; settle it as `degrade`d, because it may
            not go there; or `fail` with `BadAnswer`, because there is no answer to degrade.
        reasons: to append to the job's; empty when the answer is kept.
    """

    step: Literal["keep", "escalate", "degrade", "fail"]
    reasons: tuple[str, ...] = ()


def egress(job: Job, policy: Policy) -> Egress:
    """May the content leave the building? The tenant's policy can only take the leave away."""
    forced = policy.tenant(job.tenant).force_deny
    return "allow" if job.egress == "allow" and not forced else "deny"


def choose_lane(job: Job, verdict: Verdict | None, policy: Policy, state: State) -> Decision:
    """The lane of a job that nobody has answered yet.

    Raises:
        EgressDenied: The job is pinned to Bedrock, and the policy does not let it go there.
    """
    if job.lane == "bedrock":
        return _pinned(job, policy, state)
    rules = policy.tenant(job.tenant)
    reason = _must_stay(job, policy, state) or _may_stay(job, verdict, rules)
    reason = reason or _cannot_go(job, policy, state)
    held = _held_against(job, verdict, rules)
    if reason is not None:
        return Decision(lane="local", queue=rules.queue(job), reason=reason, **held)
    reason = Reason.SPILLWAY_WAIT if state.spillway == "shut" else Reason.VERDICT_HARD
    model = policy.models(job.tenant)[0]
    return Decision(lane="bedrock", queue=BEDROCK, reason=reason, model=model, **held)


def should_escalate(
    job: Job, content: Content | None, checks: Sequence[Check], policy: Policy, state: State
) -> Judgement:
    """What becomes of a local answer that has been checked; `content` is none if there is none."""
    faults = _faults(content, checks, policy.tenant(job.tenant))
    if not faults:
        return Judgement(step="keep")
    stop = _must_stay(job, policy, state) or _cannot_go(job, policy, state)
    if stop is not None:
        return Judgement(step="degrade" if content else "fail", reasons=(*faults, stop))
    waits = (Reason.SPILLWAY_WAIT,) if state.spillway == "shut" else ()
    return Judgement(step="escalate", reasons=(*faults, *waits))


def _pinned(job: Job, policy: Policy, state: State) -> Decision:
    if egress(job, policy) == "deny":
        raise EgressDenied("the tenant's policy keeps its content in the house", field="egress")
    if state.secret:
        raise EgressDenied("the content holds what looks like a secret", field="egress")
    models = policy.models(job.tenant)
    if not models:
        raise EgressDenied("the policy allows no model on Bedrock", field="lane")
    return Decision(lane="bedrock", queue=BEDROCK, reason=Reason.PINNED_BEDROCK, model=models[0])


def _must_stay(job: Job, policy: Policy, state: State) -> Reason | None:
    """Why the job is the local lane's whatever comes."""
    if job.kind == "embed":
        return Reason.EMBED_IS_LOCAL
    if job.egress == "deny":
        return Reason.EGRESS_DENIED
    if egress(job, policy) == "deny":
        return Reason.TENANT_FORCED_DENY
    if state.secret:
        return Reason.SECRET_FOUND
    return Reason.PINNED_LOCAL if job.lane == "local" else None


def _may_stay(job: Job, verdict: Verdict | None, rules: TenantPolicy) -> Reason | None:
    """Why the local lane is tried first."""
    if verdict is None:
        return Reason.NO_VERDICT
    threshold: float = getattr(rules.thresholds, job.kind)
    return Reason.VERDICT_EASY if verdict.probability >= threshold else None


def _cannot_go(job: Job, policy: Policy, state: State) -> Reason | None:
    """What stands in the way of Bedrock for a job that belongs and may go there."""
    if not policy.models(job.tenant):
        return Reason.NO_MODEL_ALLOWED
    least = max(state.call_nusd, 1)
    if job.max_cost_usd is not None and job.max_cost_usd * NANO < least:
        return Reason.JOB_COST_CAP
    if state.budget_left_nusd is not None and state.budget_left_nusd < least:
        return Reason.BUDGET_SPENT
    shut = state.spillway == "shut" and policy.tenant(job.tenant).when_shut == "degrade"
    return Reason.SPILLWAY_SHUT if shut else None


def _held_against(job: Job, verdict: Verdict | None, rules: TenantPolicy) -> dict[str, Any]:
    if verdict is None or job.kind == "embed":
        return {}
    return {
        "threshold": getattr(rules.thresholds, job.kind),
        "probability": verdict.probability,
        "version": verdict.version,
    }


def _faults(
    content: Content | None, checks: Sequence[Check], rules: TenantPolicy
) -> tuple[str, ...]:
    """What is wrong with an answer, as reason codes."""
    faults = [f"{Reason.CHECK_FAILED}:{check.name}" for check in checks if not check.passed]
    if content is None:
        return (*faults, Reason.NO_ANSWER)
    unsure = (
        isinstance(content, Classification)
        and content.probability is not None
        and content.probability < rules.min_probability.classify
    )
    return (*faults, Reason.LOW_PROBABILITY) if unsure else tuple(faults)


__all__ = [
    "Decision", "Judgement", "Policy", "PolicyFile", "Reason", "State", "TenantPolicy",
    "choose_lane", "egress", "should_escalate",
]  # fmt: skip
