"""What `reserve.lua` is told and what it says: packed limits, amounts, refusals and alerts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from forebay.routing.base import NANO
from forebay.routing.errors import BudgetExceeded, Lost, Throttled
from forebay.routing.limits.allowances import FLEET, Limit
from forebay.routing.logs import Event, event

#: When to claim a job again that another worker has just paid for.
CLAIM_AGAIN_S = 0.1
#: Nine million dollars: above it, a double in Lua no longer counts every billionth.
MAX_NUSD = 2**53 - 1

log = logging.getLogger(__name__)


def checked(nusd: int) -> int:
    """Return an amount; raise ValueError unless it is a whole number from 0 to `MAX_NUSD`."""
    if _whole(nusd) > MAX_NUSD:
        raise ValueError(f"must be 0 to {MAX_NUSD} whole billionths of a dollar, not {nusd!r}")
    return nusd


def _whole(nusd: int) -> int:
    if not isinstance(nusd, int) or nusd < 0:
        raise ValueError(f"must be 0 to {MAX_NUSD} whole billionths of a dollar, not {nusd!r}")
    return nusd


def packed(limits: Sequence[Limit]) -> Iterator[str | int]:
    """Yield the six arguments of each limit, as `reserve.lua` reads them."""
    for limit in limits:
        window = limit.window
        yield from (limit.owner, window.book, window.start_s * 1_000, window.end_s * 1_000)
        for nusd in (limit.hard_nusd, limit.soft_nusd):
            yield "" if nusd is None else min(_whole(nusd), MAX_NUSD)


def over(
    limits: Sequence[Limit], tenant: str, nusd: int, number: int, left: bytes, new: int
) -> BudgetExceeded:
    """Return the error for a limit that is too small; log it if it is the first in its window."""
    scope, span = {0: ("tenant", "day"), -1: ("fleet", "day"), -2: ("bulk", "")}.get(number) or (
        limits[number - 1].scope, limits[number - 1].window.span,
    )  # fmt: skip
    of_span = f" of the {span}" if span else ""
    if new:
        owner = limits[number - 1].owner if number > 0 else tenant if number == 0 else FLEET
        log.warning(
            "the %s's budget%s does not cover a call of at most $%.6f any more",
            scope, of_span, nusd / NANO,
            extra=event(Event.BUDGET_SPENT, owner=owner, span=span),
        )  # fmt: skip
    return BudgetExceeded(
        f"the call may cost ${nusd / NANO:.6f}, the {scope}'s budget{of_span} has "
        f"${int(left) / NANO:.6f} left"
    )


def alert(limit: Limit) -> None:
    """Log that an owner has reached the amount from which an alert is given."""
    log.warning(
        "the %s has spent or reserved $%.6f or more in the %s",
        limit.scope, (limit.soft_nusd or 0) / NANO, limit.window.span,
        extra=event(Event.BUDGET_ALERT, owner=limit.owner, span=limit.window.span),
    )  # fmt: skip


def refusal(status: str, details: list[Any]) -> Exception:
    """Return the error for a status of `reserve.lua` other than `ok` and `over`."""
    if status == "busy":
        wait = max(details[0], 0) / 1_000
        return Throttled("an earlier call of the job may still be running", retry_after=wait)
    if status == "lost":
        return Lost()
    if status == "paid":
        return Throttled("another worker has just paid for the job", retry_after=CLAIM_AGAIN_S)
    if status == "ended":
        return ValueError("this call's reservation has ended: a new call needs a new id")
    return ValueError("this call id belongs to another reservation")
