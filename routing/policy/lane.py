"""Choose the lane of a job that has no answer yet. A pure function; it sends nothing."""

from __future__ import annotations

from typing import NamedTuple

from forebay.routing.errors import EgressDenied, NoModel
from forebay.routing.jobs import Job, Verdict
from forebay.routing.lanes import BEDROCK
from forebay.routing.policy.egress import cannot_go, egress, must_stay
from forebay.routing.policy.frontier_state import FrontierState, Pace
from forebay.routing.policy.policy_file import Policy, TenantPolicy
from forebay.routing.reasons import Reason

NO_MODEL = (
    "the policy allows no model on Bedrock: name one in `models` whose id begins with one of "
    "`model_prefixes`"
)

NOT_ALLOWED = "is none of the models on Bedrock that the policy allows this tenant (`models`)"


class Decision(NamedTuple):
    """Where a job goes, and why.

    Attributes:
        queue: the queue of its lane.
        threshold: what the verdict was compared with: its score if a pace target is set, else its
            probability. None if there was no verdict.
    """

    queue: str
    reason: Reason
    threshold: float | None = None


def choose_lane(
    job: Job, verdict: Verdict | None, policy: Policy, state: FrontierState
) -> Decision:
    """Return the lane of the job.

    Raises:
        EgressDenied: The job is pinned to Bedrock, and its content may not leave.
        NoModel: The job is pinned to Bedrock, and the policy allows no model there.
    """
    if job.lane == "bedrock":
        return _pinned(job, policy, state)
    rules = policy.tenant(job.tenant)
    reason = must_stay(job, policy, state) or _easy_enough(job, verdict, rules, state.pace)
    reason = reason or cannot_go(job, policy, state)
    threshold = _threshold(job, verdict, rules, state.pace)
    if reason is not None:
        return Decision(rules.queue(job), reason, threshold)
    reason = Reason.PACE_GOES if state.pace else Reason.VERDICT_HARD
    if state.spillway == "shut":
        reason = Reason.SPILLWAY_WAIT
    return Decision(BEDROCK, reason, threshold)


def _pinned(job: Job, policy: Policy, state: FrontierState) -> Decision:
    """Return the decision for a job that is pinned to Bedrock."""
    if egress(job, policy) == "deny":
        raise EgressDenied(
            "the tenant's policy sets force_deny, so the content may not leave", field="egress"
        )
    if state.secret:
        raise EgressDenied("the content seems to contain a secret; remove it", field="egress")
    if not policy.models_for(job):
        raise no_model(job)
    return Decision(BEDROCK, Reason.PINNED_BEDROCK)


def no_model(job: Job) -> NoModel:
    """Return the error of a job on Bedrock that no model may answer."""
    if job.model is None:
        return NoModel(NO_MODEL, field="lane")
    return NoModel(NOT_ALLOWED, field="model")


def _easy_enough(
    job: Job, verdict: Verdict | None, rules: TenantPolicy, pace: Pace | None
) -> Reason | None:
    """Return why the local lane answers first, or None if the job is too hard for it."""
    if verdict is None:
        return Reason.NO_VERDICT
    if pace is not None:
        return None if pace.go else Reason.PACE_STAYS
    threshold: float = getattr(rules.thresholds, job.kind)
    return Reason.VERDICT_EASY if verdict.probability >= threshold else None


def _threshold(
    job: Job, verdict: Verdict | None, rules: TenantPolicy, pace: Pace | None
) -> float | None:
    """Return what the verdict was compared with."""
    if verdict is None or job.kind == "embed":
        return None
    threshold: float = getattr(rules.thresholds, job.kind)
    return pace.threshold if pace else threshold
