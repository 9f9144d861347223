"""How it looks on Bedrock right now: is the spillway open, and is there money left."""

from __future__ import annotations

import redis

from forebay.routing.jobs import Job
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.spillway import LOOK_EVERY_S, Spillway
from forebay.routing.policy.egress import egress
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store.ttl_cache import TtlCache


class FrontierStatus:
    """What decisions need to know of the world, as of at most half a second ago.

    Old news does no harm: a reservation (`Budget.reserve`) is what keeps a budget. So where Redis
    cannot be asked, what was seen last holds: an answer that took long is not thrown away for it.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._spillway = Spillway(client)
        self._spend = Budget(client)
        self._gone = TtlCache(self._look, LOOK_EVERY_S)

    def state(self, job: Job, rules: Policy) -> FrontierState:
        """The state for one job; for a job that stays here the world need not be asked."""
        if job.lane == "local" or egress(job, rules) == "deny":
            return FrontierState()
        budgets = (
            (job.tenant, rules.tenant(job.tenant).daily_budget_nusd),
            (None, rules.fleet.daily_budget_nusd),
        )
        left = [budget - self._gone(owner) for owner, budget in budgets if budget is not None]
        return FrontierState(self._spillway.gate(), min(left, default=None))

    def _look(self, owner: str | None) -> int:
        """Billionths of a dollar settled or set aside today, by a tenant or by all."""
        return sum(self._spend.spent(owner))
