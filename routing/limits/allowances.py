"""The budgets of the policy that a call has to keep to: of its tenant, the fleet and its model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forebay.routing.limits.windows import Span, Window, window
from forebay.routing.policy.policy_file import Policy
from forebay.routing.policy.tables import Allowance, ModelRules

FLEET = "*"
SPANS: tuple[Span, ...] = ("hour", "day", "month")


@dataclass(frozen=True, slots=True)
class Limit:
    """What an owner may spend within a window.

    Attributes:
        owner: a tenant, `*` for the fleet, `*:<model>` for a model, or `<tenant>:<purpose>`.
        scope: who the owner is, in words for an error.
        hard_nusd: the budget, in billionths of a dollar; `None` for no limit.
        soft_nusd: the amount from which an alert is logged; `None` for no alert.
    """

    owner: str
    scope: str
    window: Window
    hard_nusd: int | None = None
    soft_nusd: int | None = None


def limits(policy: Policy, tenant: str, model: str | None, at_s: float) -> tuple[Limit, ...]:
    """Return all limits that hold at a moment. Without a model, those of tenant and fleet.

    A window without a limit is returned too, so that a budget that is set later knows what has
    been spent.
    """
    fleet, of_tenant = policy.fleet, policy.tenant(tenant)
    found = [
        *_limits(of_tenant, tenant, "tenant", of_tenant.time_zone, at_s),
        *_limits(fleet, FLEET, "fleet", fleet.time_zone, at_s),
    ]
    if model is not None:
        rules = fleet.models.get(model, ModelRules())
        found += _limits(rules, f"{FLEET}:{model}", "model", fleet.time_zone, at_s)
    return tuple(found)


def _limits(rules: Allowance, owner: str, scope: str, zone: str, at_s: float) -> Iterator[Limit]:
    for span in SPANS:
        yield Limit(owner, scope, window(span, at_s, zone), rules.hard(span), rules.soft(span))
