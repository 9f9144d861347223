"""A planned call to a frontier model, what it may cost, and what the books say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forebay.routing.books.egress_entry import Leaving
from forebay.routing.books.egress_log import content_digest
from forebay.routing.limits.allowances import Limit, limits
from forebay.routing.limits.prices import Prices
from forebay.routing.limits.windows import window
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.calling.assignment import Assignment
from forebay.workers.frontier.terms import Terms

Role = Literal["answer", "repair", "part"]

#: Of usual text. The bound of a prompt's tokens is its bytes.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Call:
    """A planned call: its prompt, its model, and the most it can cost.

    Attributes:
        model: the id that is called.
        prices: the price list that was in force when the call was planned.
        tokens_in, tokens_out: the most tokens that its prompt and its answer can have.
        terms: how it is made.
        probe: the call finds out whether a fault of Bedrock is over.
        role: `answer`; `repair` of an earlier answer; `part` of a text that is answered in parts.
        ahead_nusd: what the job's later calls may cost; it is reserved together with this call.
    """

    id: str
    prompt: Prompt
    model: str
    worst_nusd: int
    prices: Prices
    tokens_in: int
    tokens_out: int
    terms: Terms
    probe: bool = False
    role: Role = "answer"
    ahead_nusd: int = 0

    @property
    def base(self) -> str:
        """The id that the price list spells; differs for an opaque inference profile."""
        return self.terms.base

    @property
    def likely_tokens(self) -> int:
        """About how many tokens the service counts against its quota when the call begins."""
        return self.tokens_in // BYTES_PER_TOKEN + self.tokens_out

    def purpose(self, assignment: Assignment) -> str:
        """Return what the call is for: its role, or the purpose of a budget."""
        return assignment.sub_budget.purpose or self.role

    def stated(self, region: str, assignment: Assignment) -> dict[str, Any]:
        """Return what the book of calls keeps of the call."""
        return {
            "model": self.model, "base": self.base, "region": region, "tier": self.terms.tier,
            "prices": self.prices.version, "purpose": self.purpose(assignment),
        }  # fmt: skip

    def limits(self, assignment: Assignment, at_s: float) -> Sequence[Limit]:
        """Return all limits that the call has to keep to at a moment."""
        tenant, sub = assignment.job.tenant, assignment.sub_budget
        found = limits(assignment.policy, tenant, self.model, at_s)
        if sub.purpose:
            owner, today = f"{tenant}:{sub.purpose}", window("day", at_s)
            found += (Limit(owner, sub.purpose, today, sub.budget_nusd),)
        return found

    def leaving(self, assignment: Assignment, region: str, secret: bytes) -> Leaving:
        """Return what the egress log says of the call."""
        job = assignment.job
        return Leaving(
            call=self.id,
            job=job.id,
            kind=job.kind,
            model=self.model,
            region=region,
            tokens=self.tokens_in,
            content=content_digest(secret, (turn.content for turn in self.prompt.messages)),
            said=job.egress,
            policy=assignment.policy.version,
            why=",".join(assignment.claim.record.reasons),
            purpose=self.purpose(assignment),
        )
