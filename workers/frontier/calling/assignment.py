"""The job that frontier models are called for, by which rules, and out of which budgets."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.policy.policy_file import Policy


@dataclass(frozen=True, slots=True)
class SubBudget:
    """A budget of a day, UTC, that pays for a call, in addition to all budgets of the policy."""

    purpose: str = ""
    budget_nusd: int | None = None


NO_SUB_BUDGET = SubBudget()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that is worked in the frontier lane, for which models are called.

    Attributes:
        claim: the hold on the job; money is reserved under its token.
        job: what is asked.
        policy: the rules in force when the work on the job began.
        sub_budget: also pays for the calls.
    """

    claim: Claim
    job: Job
    policy: Policy
    sub_budget: SubBudget = NO_SUB_BUDGET
