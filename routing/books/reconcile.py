"""Compare the book of calls with AWS's own bill, and settle calls whose outcome was not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from forebay.routing.base import NANO
from forebay.routing.books.call_book import CallRecord
from forebay.routing.books.invocations import Invocation
from forebay.routing.errors import Misconfigured
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Tier, Usage


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the book and the bill differ.

    Attributes:
        what: `unknown_outcome` (the bill now tells it), `tokens`, `not_billed`, `not_booked` or
            `dollars`.
        about: the id of a call, of Bedrock's request, or a day.
        booked_nusd, billed_nusd: billionths of a dollar; `None` if one side does not know it.
    """

    what: str
    about: str
    booked_nusd: int | None
    billed_nusd: int | None
    note: str = ""


def with_invocations(
    calls: Sequence[CallRecord], invocations: Sequence[Invocation], prices: Prices
) -> Iterator[Difference]:
    """Yield what the book of calls and Bedrock's invocation log differ in, call by call."""
    booked = {call.id: call for call in calls}
    billed = {invocation.call: invocation for invocation in invocations if invocation.call}
    for invocation in invocations:
        call, nusd = booked.get(invocation.call), _billed_nusd(invocation, None, prices)
        if call is None:
            about = invocation.call or invocation.request
            yield Difference("not_booked", about, None, nusd, f"a call of {invocation.model}")
            continue
        nusd = _billed_nusd(invocation, call, prices)
        if call.state == "open":
            yield Difference("unknown_outcome", call.id, None, nusd, f"job {call.job}")
        elif _billable(call) != _tokens(invocation):
            note = f"booked {_words(call.tokens)}, billed {_words(_tokens(invocation))}"
            yield Difference("tokens", call.id, call.settled_nusd, nusd, note)
    times = [invocation.at_ms for invocation in invocations]
    for call in calls:
        inside = bool(times) and min(times) <= call.at_ms <= max(times)
        is_aws = not (call.stand_in or call.elsewhere)
        if call.state == "settled" and inside and call.id not in billed and is_aws:
            yield Difference("not_billed", call.id, call.settled_nusd, None, f"job {call.job}")


def with_cost_report(calls: Sequence[CallRecord], days: Mapping[str, int]) -> Iterator[Difference]:
    """Yield the days (UTC) on which the book and a Cost and Usage Report differ in dollars.

    A day of the report that ends in fractions of a billionth is cut to whole ones.
    """
    booked: Counter[str] = Counter()
    for call in calls:
        if call.state == "settled" and not (call.stand_in or call.elsewhere):
            booked[_day(call.at_ms)] += call.settled_nusd
    for day in sorted(days):
        if booked[day] != days[day]:
            apart = (booked[day] - days[day]) / NANO
            note = f"booked ${apart:+.6f} more than billed"
            yield Difference("dollars", day, booked[day], days[day], note)


def settle_known(
    budget: Budget, calls: Sequence[CallRecord], invocations: Sequence[Invocation], prices: Prices
) -> list[CallRecord]:
    """Settle the open calls that the invocation log tells the outcome of; return them."""
    opened = {call.id: call for call in calls if call.state == "open"}
    settled = []
    for invocation in invocations:
        call = opened.get(invocation.call)
        nusd = _billed_nusd(invocation, call, prices)
        if call is None or nusd is None:
            continue
        bill = {"tokens": asdict(_tokens(invocation)), "tier": call.tier, "stand_in": False}
        if budget.settle(call.id, nusd, bill=bill) == "closed":
            settled.append(call)
    return settled


def _tokens(invocation: Invocation) -> Usage:
    return Usage() if invocation.failed else invocation.tokens


def _billable(call: CallRecord) -> Usage:
    """Return the tokens that the book says were billed: none of a call that was released."""
    return call.tokens or Usage()


def _billed_nusd(invocation: Invocation, call: CallRecord | None, prices: Prices) -> int | None:
    """Return what the logged tokens cost; `None` if their model has no price."""
    tier: Tier = call.tier if call and call.tier else "default"  # type: ignore[assignment]  # `prices` refuses any other
    try:
        model = call.base if call and call.base else invocation.model
        return prices.cost(model, _tokens(invocation), tier=tier)
    except Misconfigured:
        return None


def _words(tokens: Usage | None) -> str:
    if tokens is None:
        return "no tokens"
    return f"{tokens.prompt} in, {tokens.output} out"


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).date().isoformat()
