"""Read the state of the frontier for a decision: the circuit breaker and the money left."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis

from forebay.routing.jobs import Job
from forebay.routing.limits.allowances import limits
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.limits.spillway import LOOK_EVERY_S, Spillway
from forebay.routing.policy.egress import egress
from forebay.routing.policy.frontier_state import FrontierState
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store.ttl_cache import TtlCache

_LOCAL = FrontierState()  # of jobs that stay local


@dataclass(frozen=True, slots=True)
class _InForce:
    """A policy as a key: two of one version are equal."""

    version: str
    policy: Policy = field(compare=False)


class FrontierStatus:
    """The state of the frontier in one Redis, at most half a second old.

    A stale state does no harm: a reservation (`Budget.reserve`) is what protects a budget. If Redis
    cannot be reached, the last state is returned, so that a finished answer is not thrown away.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._spillway, self._pauses = Spillway(client), Pauses(client)
        self._budget = Budget(client)
        self._left = TtlCache(self._read_left, LOOK_EVERY_S)

    def state(self, job: Job, policy: Policy) -> FrontierState:
        """Return the state for one job. Redis is not read for a job that stays local."""
        if job.lane == "local" or egress(job, policy) == "deny":
            return _LOCAL
        paused = self._pauses.hold(f"bedrock:{job.tenant}")
        gate = "shut" if paused else self._spillway.gate(job.tenant)
        return FrontierState(gate, self._left(job.tenant, _InForce(policy.version, policy)))

    def _read_left(self, tenant: str, in_force: _InForce) -> int | None:
        """Return the least that is left of the budgets of a tenant and of the fleet."""
        return self._budget.left(lambda at_s: limits(in_force.policy, tenant, None, at_s))
