"""A planned call to a frontier model, what it may and did cost, and what the books say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from forebay.routing.books.egress_entry import Leaving
from forebay.routing.books.egress_log import content_digest
from forebay.routing.jobs import Job
from forebay.routing.ledger.claim import Claim
from forebay.routing.limits.allowances import Limit, limits
from forebay.routing.limits.prices import Prices, Tier, Usage
from forebay.routing.limits.windows import window
from forebay.routing.policy.policy_file import Policy
from forebay.workers.engines.engine import Prompt


@dataclass(frozen=True, slots=True)
class SubBudget:
    """A budget of a day, UTC, that pays for a call, in addition to all budgets of the policy."""

    purpose: str = ""
    budget_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A planned call: its prompt, its model, and the most it can cost.

    Attributes:
        model: the id that is called.
        base: the id that the price list spells; differs for an opaque inference profile.
        prices: the price list that was in force when the call was planned.
        tokens_in: the most tokens that its prompt can have.
        probe: the call finds out whether a fault of Bedrock is over.
        repair: the call mends the answer of an earlier call.
    """

    id: str
    prompt: Prompt
    model: str
    base: str
    worst_nusd: int
    prices: Prices
    tokens_in: int
    probe: bool = False
    repair: bool = False

    def purpose(self, sub_budget: SubBudget) -> str:
        """Return what the call is for: `answer`, `repair`, or the purpose of a budget."""
        return sub_budget.purpose or ("repair" if self.repair else "answer")

    def terms(self, region: str, sub_budget: SubBudget) -> dict[str, Any]:
        """Return what the book of calls keeps of the call."""
        return {
            "model": self.model, "base": self.base, "region": region, "tier": "default",
            "prices": self.prices.version, "purpose": self.purpose(sub_budget),
        }  # fmt: skip

    def limits(self, rules: Policy, tenant: str, sub: SubBudget, at_s: float) -> Sequence[Limit]:
        """Return all limits that the call has to keep to at a moment."""
        found = limits(rules, tenant, self.model, at_s)
        if sub.purpose:
            owner, today = f"{tenant}:{sub.purpose}", window("day", at_s)
            found += (Limit(owner, sub.purpose, today, sub.budget_nusd),)
        return found

    def leaving(
        self, claim: Claim, job: Job, rules: Policy, region: str, sub: SubBudget, secret: bytes
    ) -> Leaving:
        """Return what the egress log says of the call."""
        return Leaving(
            call=self.id,
            job=job.id,
            kind=job.kind,
            model=self.model,
            region=region,
            tokens=self.tokens_in,
            content=content_digest(secret, (turn.content for turn in self.prompt.messages)),
            said=job.egress,
            policy=rules.version,
            why=",".join(claim.record.reasons),
            purpose=self.purpose(sub),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a call, in billionths of a dollar, and what was billed for it.

    Attributes:
        estimated: the usage could not be priced, so this is the worst case that was reserved.
        stand_in: the mock of Bedrock billed it, so it is no money.
    """

    nusd: int
    estimated: bool = False
    usage: Usage | None = None
    tier: Tier | None = None
    stand_in: bool = False

    def bill(self) -> dict[str, Any]:
        """Return what the book of calls keeps of the bill."""
        return {
            "tokens": asdict(self.usage) if self.usage else None, "tier": self.tier,
            "estimated": self.estimated, "stand_in": self.stand_in,
        }  # fmt: skip
