"""Where a job goes and whether its answer will do: pure functions of what is known.

`choose_lane` decides before the answer, `should_escalate` after it, both by the `Policy` that
operators write (`policy_file`). Every branch has its reason code (`reasons`).
Neither sends anything; the ledger and the bedrock worker check egress again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forebay.routing.base import NANO, Egress, FrozenModel
from forebay.routing.errors import EgressDenied
from forebay.routing.jobs import Check, Classification, Content, Doubt, Job, Verdict
from forebay.routing.lanes import BEDROCK, Lane
from forebay.routing.policy.policy_file import Policy, PolicyFile, TenantPolicy
from forebay.routing.reasons import DEGRADING, Reason


class Pace(FrozenModel):
    """What the pace makes of one job.

    Attributes:
        go: it goes up to Bedrock.
        threshold: the score that separated those that go from those that stay, just now; none
            where nothing did: all went, or nothing was known yet.
        aim: the share of jobs like this one that goes just now.
        rank: the share of recent scores that are above this one's.
    """

    go: bool
    threshold: float | None = None
    aim: float | None = None
    rank: float | None = None


AGREED = 0.5  # two answers that agree no less say the same


@dataclass(frozen=True, slots=True)
class FrontierState:
    """What is known of the world when a decision is made.

    Attributes:
        spillway: `shut` while calls to Bedrock fail.
        budget_left_nusd: the least that is left of the budgets the job falls under, in billionths
            of a dollar; none where there is no limit.
        secret: a secret was found in the job's content.
        pace: what the pace makes of this job, where one is set; it decides instead of constants.
    """

    spillway: Literal["open", "shut"] = "open"
    budget_left_nusd: int | None = None
    secret: bool = False
    pace: Pace | None = None


class Decision(FrozenModel):
    """What the policy makes of job, verdict and state.

    Attributes:
        model: the model on Bedrock to call; none in the local lane.
        threshold: what the verdict was held against, where one was: its score where a pace is set,
            else its probability.
        probability, score, version: of the verdict.
    """

    lane: Lane
    queue: str
    reason: Reason
    model: str | None = None
    threshold: float | None = None
    probability: float | None = None
    score: float | None = None
    version: str | None = None

    @property
    def degraded(self) -> bool:
        """The policy wanted the other lane and could not have it; the answer must say so."""
        return self.reason in DEGRADING


class NextStep(FrozenModel):
    """What becomes of a local answer.

    Attributes:
        step: `keep` it; `escalate` the job to Bedrock; settle it as `degrade`d, because it may
            not go there; or `fail` with `BadAnswer`, because there is no answer to degrade.
        reasons: to append to the job's; empty when the answer is kept.
        doubt: about the answer, where it was asked, and what it was held against.
    """

    step: Literal["keep", "escalate", "degrade", "fail"]
    reasons: tuple[str, ...] = ()
    doubt: Doubt | None = None


def egress(job: Job, policy: Policy) -> Egress:
    """May the content leave the building? The tenant's policy can only take the leave away."""
    forced = policy.tenant(job.tenant).force_deny
    return "allow" if job.egress == "allow" and not forced else "deny"


def choose_lane(
    job: Job, verdict: Verdict | None, policy: Policy, state: FrontierState
) -> Decision:
    """The lane of a job that nobody has answered yet.

    Raises:
        EgressDenied: The job is pinned to Bedrock, and the policy does not let it go there.
    """
    if job.lane == "bedrock":
        return _pinned(job, policy, state)
    rules = policy.tenant(job.tenant)
    reason = _must_stay(job, policy, state) or _may_stay(job, verdict, rules, state.pace)
    reason = reason or _cannot_go(job, policy, state)
    held = _held_against(job, verdict, rules, state.pace)
    if reason is not None:
        return Decision(lane="local", queue=rules.queue(job), reason=reason, **held)
    reason = Reason.PACE_GOES if state.pace else Reason.VERDICT_HARD
    if state.spillway == "shut":
        reason = Reason.SPILLWAY_WAIT
    model = policy.models(job.tenant)[0]
    return Decision(lane="bedrock", queue=BEDROCK, reason=reason, model=model, **held)


def may_go(job: Job, policy: Policy, state: FrontierState) -> bool:
    """May a job that is not pinned to Bedrock go up there, and can it just now?"""
    return not (_must_stay(job, policy, state) or _cannot_go(job, policy, state))


def may_audit(job: Job, policy: Policy, state: FrontierState) -> bool:
    """May a local answer that was kept also be held against Bedrock's?"""
    rules = policy.tenant(job.tenant).audit
    paid_for = rules.share > 0 and rules.usd_per_day > 0
    return paid_for and state.spillway == "open" and may_go(job, policy, state)


def wants_second(
    job: Job,
    verdict: Verdict | None,
    policy: Policy,
    state: FrontierState,
    *,
    depth: float,
    prose: bool,
) -> bool:
    """Is a second local answer worth its time?

    Only where something can come of it: the job may go up, or its answer may say that it is unsure.
    `depth` is jobs waiting in the worker's own queue, for each of its slots; `prose` says that the
    answer is free text of a `generate` job.
    """
    rules = policy.tenant(job.tenant).second_opinion
    upto: float = 0.0 if job.kind == "embed" else getattr(rules, "prose" if prose else job.kind)
    unsure = upto > 0 and (verdict is None or verdict.probability <= upto)
    if not unsure or depth > rules.stop_at_depth:
        return False
    return rules.deny_too if _must_stay(job, policy, state) else may_go(job, policy, state)


def should_escalate(
    job: Job,
    content: Content | None,
    checks: Sequence[Check],
    policy: Policy,
    state: FrontierState,
    doubted: Doubt | None = None,
) -> NextStep:
    """What becomes of a local answer that has been checked.

    `content` is none if there is none; `doubted` is given for an answer that passed its checks.
    """
    rules = policy.tenant(job.tenant)
    faults = _faults(content, checks) or _unsure(content, rules, state.pace)
    held = doubted and doubted.model_copy(
        update={"threshold": _most_doubt(job, doubted, rules, state.pace)}
    )
    doubts = () if faults or held is None else _doubts(held, state.pace)
    if not faults and not doubts:
        return NextStep(step="keep", doubt=held)
    stays = _must_stay(job, policy, state)
    if stays is not None and not faults:
        # It may be right all the same, and no other is to be had: that makes it no worse.
        return NextStep(step="keep", reasons=(Reason.UNSURE, stays), doubt=held)
    faults = faults or doubts
    stop = stays or _cannot_go(job, policy, state)
    if stop is not None:
        step: Literal["degrade", "fail"] = "degrade" if content else "fail"
        return NextStep(step=step, reasons=(*faults, stop), doubt=held)
    waits = (Reason.SPILLWAY_WAIT,) if state.spillway == "shut" else ()
    return NextStep(step="escalate", reasons=(*faults, *waits), doubt=held)


def _pinned(job: Job, policy: Policy, state: FrontierState) -> Decision:
    if egress(job, policy) == "deny":
        raise EgressDenied("the tenant's policy keeps its content in the house", field="egress")
    if state.secret:
        raise EgressDenied("the content holds what looks like a secret", field="egress")
    models = policy.models(job.tenant)
    if not models:
        raise EgressDenied("the policy allows no model on Bedrock", field="lane")
    return Decision(lane="bedrock", queue=BEDROCK, reason=Reason.PINNED_BEDROCK, model=models[0])


def _must_stay(job: Job, policy: Policy, state: FrontierState) -> Reason | None:
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


def _may_stay(
    job: Job, verdict: Verdict | None, rules: TenantPolicy, pace: Pace | None
) -> Reason | None:
    """Why the local lane is tried first."""
    if verdict is None:
        return Reason.NO_VERDICT
    if pace is not None:
        return None if pace.go else Reason.PACE_STAYS
    threshold: float = getattr(rules.thresholds, job.kind)
    return Reason.VERDICT_EASY if verdict.probability >= threshold else None


def _cannot_go(job: Job, policy: Policy, state: FrontierState) -> Reason | None:
    """What stands in the way of Bedrock for a job that belongs and may go there."""
    if not policy.models(job.tenant):
        return Reason.NO_MODEL_ALLOWED
    # What a call may cost is known when it is planned, by the bedrock worker.
    if job.max_cost_usd is not None and job.max_cost_usd * NANO < 1:
        return Reason.JOB_COST_CAP
    if state.budget_left_nusd is not None and state.budget_left_nusd < 1:
        return Reason.BUDGET_SPENT
    shut = state.spillway == "shut" and policy.tenant(job.tenant).when_shut == "degrade"
    return Reason.SPILLWAY_SHUT if shut else None


def _most_doubt(job: Job, doubted: Doubt, rules: TenantPolicy, pace: Pace | None) -> float | None:
    """The doubt above which an answer will not do.

    Without a pace only one that was compared is doubted: the rest of what is known of it is little
    more than the verdict, which has said already that it will probably do.
    """
    if pace is not None:
        return pace.threshold
    most: float = getattr(rules.max_doubt, job.kind, 1.0)
    return None if doubted.agreement is None else most


def _doubts(doubted: Doubt, pace: Pace | None) -> tuple[str, ...]:
    """Why an answer that passed its checks will not do."""
    most = doubted.threshold
    too_much = pace.go if pace else most is not None and doubted.probability > most
    if not too_much:
        return ()
    return (Reason.SECOND_OPINION_DIFFERS if _differs(doubted) else Reason.DOUBTFUL,)


def _differs(doubted: Doubt) -> bool:
    """A second answer says something else."""
    return doubted.agreement is not None and doubted.agreement < AGREED


def _held_against(
    job: Job, verdict: Verdict | None, rules: TenantPolicy, pace: Pace | None
) -> dict[str, Any]:
    if verdict is None or job.kind == "embed":
        return {}
    return {
        "threshold": pace.threshold if pace else getattr(rules.thresholds, job.kind),
        "probability": verdict.probability,
        "score": verdict.score,
        "version": verdict.version,
    }


def _faults(content: Content | None, checks: Sequence[Check]) -> tuple[str, ...]:
    """What is wrong with an answer, as reason codes."""
    faults = tuple(f"{Reason.CHECK_FAILED}:{check.name}" for check in checks if not check.passed)
    return faults if content else (*faults, Reason.NO_ANSWER)


def _unsure(content: Content | None, rules: TenantPolicy, pace: Pace | None) -> tuple[str, ...]:
    """A label that is too improbable; where a pace is set, that is but one cause for doubt."""
    improbable = (
        isinstance(content, Classification)
        and content.probability is not None
        and content.probability < rules.min_probability.classify
    )
    return (Reason.LOW_PROBABILITY,) if improbable and pace is None else ()


__all__ = [
    "AGREED",
    "Decision",
    "FrontierState",
    "NextStep",
    "Policy",
    "PolicyFile",
    "Reason",
    "TenantPolicy",
    "choose_lane",
    "egress",
    "may_audit",
    "may_go",
    "should_escalate",
    "wants_second",
]  # fmt: skip
