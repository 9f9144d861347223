"""Decide whether a job's content may leave the building, and whether Bedrock can take the job now.

`route.lua` and `escalate.lua` check egress again, from the stored record; before a call, so does
`allowed` (`workers/frontier/calling/permission.py`), from record, job and policy.
"""

from __future__ import annotations

from forebay.routing.base import NANO, Egress
from forebay.routing.jobs import Job
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.policy_file import Policy
from forebay.routing.reasons import Reason


def egress(job: Job, policy: Policy) -> Egress:
    """Return `allow` if the content may leave. A tenant's policy can only forbid, never allow."""
    forced = policy.tenant(job.tenant).force_deny
    return "allow" if job.egress == "allow" and not forced else "deny"


def must_stay(job: Job, policy: Policy, state: FrontierState) -> Reason | None:
    """Return why the job must stay in the local lane, or None if it may leave."""
    if job.kind == "embed":
        return Reason.EMBED_IS_LOCAL
    if job.egress == "deny":
        return Reason.EGRESS_DENIED
    if egress(job, policy) == "deny":
        return Reason.TENANT_FORCED_DENY
    if state.secret:
        return Reason.SECRET_FOUND
    if job.wants_logprobs:
        return Reason.LOGPROBS_ARE_LOCAL
    return Reason.PINNED_LOCAL if job.lane == "local" else None


def cannot_go(job: Job, policy: Policy, state: FrontierState) -> Reason | None:
    """Return why a job that may leave cannot go to Bedrock now, or None if it can."""
    if not policy.models_for(job):
        return Reason.NO_MODEL_ALLOWED
    # The bedrock worker compares the cap with the cost of a call; here only zero is refused.
    if job.max_cost_usd is not None and job.max_cost_usd * NANO < 1:
        return Reason.JOB_COST_CAP
    if state.budget_left_nusd is not None and state.budget_left_nusd < 1:
        return Reason.BUDGET_SPENT
    shut = state.spillway == "shut" and policy.tenant(job.tenant).when_shut == "degrade"
    return Reason.SPILLWAY_SHUT if shut else None


def may_go(job: Job, policy: Policy, state: FrontierState) -> bool:
    """Return True if a job that is not pinned to Bedrock may leave, and can go there now."""
    return not (must_stay(job, policy, state) or cannot_go(job, policy, state))


def may_audit(job: Job, policy: Policy, state: FrontierState) -> bool:
    """Return True if the local answer of the job may be audited against Bedrock's."""
    rules = policy.tenant(job.tenant).audit
    wanted = rules.share > 0 and rules.usd_per_day > 0
    return wanted and state.spillway == "open" and may_go(job, policy, state)
