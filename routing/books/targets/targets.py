"""The target of a tenant's pacing beside what was reached, and why it was missed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from forebay.routing.books.targets.refusals import Refusals, refusals
from forebay.routing.books.usage_report import Paced, UsageReport
from forebay.routing.policy.policy_file import Policy

#: A share that is further from its target is missed.
POINT = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """A tenant's target in a span of time.

    Attributes:
        share: of the jobs that may leave, how many are to go up; `None` for no such target.
        usd_per_day: dollars a day that are to be spent; `None` for no such target.
        paced: the jobs that might leave, and how many of them were answered on the frontier.
        refused: the budgets that refused calls.
    """

    tenant: str
    share: float | None
    usd_per_day: float | None
    paced: Paced
    refused: tuple[Refusals, ...]

    @property
    def is_missed(self) -> bool:
        """True if fewer or more jobs went up than the share says, by more than a point."""
        reached = self.paced.share
        return self.share is not None and reached is not None and abs(reached - self.share) > POINT

    @property
    def goal(self) -> str:
        """The target, in words."""
        goals = [
            f"{self.share:.1%} of its jobs" if self.share is not None else "",
            f"${self.usd_per_day:,.2f} a day" if self.usd_per_day is not None else "",
        ]
        return " and ".join(filter(None, goals))

    def lines(self) -> Iterator[str]:
        """Yield the target, what was reached, and why it was missed, in words."""
        reached = "no job might leave"
        if self.paced.share is not None:
            reached = f"{self.paced.share:.2%} of {self.paced.jobs:,} jobs were answered there"
        yield f"{self.tenant}: target {self.goal}; {reached}"
        yield from (f"{self.tenant}: {why}" for why in self.why())

    def why(self) -> Iterator[str]:
        """Yield what kept the target from being reached; budgets that refused calls in any case."""
        yield from (one.text for one in self.refused)
        below = self.is_missed and self.share is not None and (self.paced.share or 0) < self.share
        if below and self.usd_per_day is not None:
            yield f"its target of ${self.usd_per_day:,.2f} a day holds as well"
        elif self.is_missed and not self.refused:
            yield "no budget refused a call: see `forebay router status`"

    def row(self) -> dict[str, Any]:
        """Return the target as JSON data."""
        return {
            "tenant": self.tenant, "share": self.share, "usd_per_day": self.usd_per_day,
            "jobs": self.paced.jobs, "went_up": self.paced.went_up, "reached": self.paced.share,
            "missed": self.is_missed, "why": list(self.why()),
            "refused": [asdict(one) for one in self.refused],
        }  # fmt: skip


def targets(fleets: Sequence[redis.Redis], policy: Policy, report: UsageReport) -> list[Target]:
    """Return the targets of the tenants of a report that have one.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    found = []
    for tenant, paced in sorted(report.paced.items()):
        pace = policy.tenant(tenant).pace
        share = None if pace.share == "none" else pace.share
        dollars = None if math.isinf(pace.usd_per_day) else pace.usd_per_day
        if share is None and dollars is None:
            continue
        span = report.since_s, report.until_s
        refused = [each for fleet in fleets for each in refusals(fleet, policy, tenant, *span)]
        found.append(Target(tenant, share, dollars, paced, tuple(refused)))
    return found
