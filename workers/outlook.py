"""How it looks on Bedrock right now: is the spillway open, and is there money left."""

from __future__ import annotations

import redis

from routing.jobs import Job
from routing.policy import Policy, State, egress
from routing.spend import Spend
from routing.spillway import Spillway


class Outlook:
    """What decisions need to know of the world."""

    def __init__(self, client: redis.Redis) -> None:
        self._spillway = Spillway(client)
        self._spend = Spend(client)

    def state(self, job: Job, rules: Policy) -> State:
        """The state for one job; for a job that stays here the world need not be asked."""
        if job.lane == "local" or egress(job, rules) == "deny":
            return State()
        budgets = (
            (job.tenant, rules.tenant(job.tenant).daily_budget_nusd),
            (None, rules.fleet.daily_budget_nusd),
        )
        left = [
            budget - sum(self._spend.spent(owner))
            for owner, budget in budgets
            if budget is not None
        ]
        return State(self._spillway.gate(), min(left, default=None))
