"""What a call to a frontier model did cost, and what the books say of the bill."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.errors import Misconfigured
from forebay.routing.limits.budget import MAX_NUSD
from forebay.routing.limits.prices import Tier, Usage
from forebay.routing.logs import Event, event
from forebay.workers.frontier.calling.call import Call

log = logging.getLogger(__name__)

MAX_EXCESS = 2  # times its worst case that a call may cost; more is no usage of this call


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


def cost_of(call: Call, usage: Usage | None, tier: Tier | None, *, stand_in: bool) -> Cost:
    """Return the cost by the prices that were in force when the call was planned.

    It is the worst case if the usage cannot be priced, or cannot be that of this call.
    """
    if usage is not None and tier is not None:
        try:
            nusd = call.prices.cost(call.base, usage, tier=tier)
        except Misconfigured:
            nusd = MAX_NUSD + 1
        if nusd <= min(MAX_NUSD, MAX_EXCESS * call.worst_nusd):
            return Cost(nusd, usage=usage, tier=tier, stand_in=stand_in)
    log.error(
        "the usage of call %s of %s cannot be priced; its worst case of $%.6f is booked",
        call.id, call.model, call.worst_nusd / NANO,
        extra=event(Event.BEDROCK_UNPRICED, model=call.model),
    )  # fmt: skip
    return Cost(call.worst_nusd, estimated=True, usage=usage, tier=tier, stand_in=stand_in)
