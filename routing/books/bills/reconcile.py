"""Compare the book of calls with AWS's own bill, and settle calls whose outcome was not known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from forebay.routing.base import NANO
from forebay.routing.books.call_book import CallRecord
from forebay.routing.books.invocations import Invocation, distinct, same_model
from forebay.routing.errors import Misconfigured
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.prices import Prices, Tier, Usage


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the book and the bill differ.

    Attributes:
        what: `unknown_outcome` (the bill now tells it), `tokens`, `model`, `billed_twice`,
            `not_billed`, `not_booked` or `dollars`.
        about: the id of a call, of Bedrock's request, or a day.
        booked_nusd, billed_nusd: billionths of a dollar; `None` if one side does not know it.
    """

    what: str
    about: str
    booked_nusd: int | None
    billed_nusd: int | None
    note: str = ""


def with_invocations(
    calls: Sequence[CallRecord],
    invocations: Sequence[Invocation],
    prices: Prices,
    lists: Mapping[str, Prices] = {},
) -> Iterator[Difference]:
    """Yield what the book of calls and Bedrock's invocation log differ in, call by call.

    A record that was delivered twice counts once.

    Args:
        calls: the book.
        invocations: the log.
        prices: price calls whose own list is not among `lists`.
        lists: the price lists that were in force when the calls were planned, by version.
    """
    booked, requests = {call.id: call for call in calls}, _by_call(invocations)
    for call_id, logged in requests.items():
        call = booked.get(call_id)
        if call is None:
            yield from (_not_booked(one, prices) for one in logged)
        else:
            yield from _of_call(call, logged, lists.get(call.prices, prices))
    billed = [one for logged in requests.values() for one in logged]
    for call in calls:
        if call.state == "settled" and call.id not in requests and _should_be_in(call, billed):
            yield Difference("not_billed", call.id, call.settled_nusd, None, f"job {call.job}")


def with_cost_report(calls: Sequence[CallRecord], days: Mapping[str, int]) -> Iterator[Difference]:
    """Yield the days (UTC) on which the book and a Cost and Usage Report differ in dollars.

    The book rounds each call up to a whole billionth, the report none: less than a billionth a call
    is no difference. Days before the first of either and after the report's last are not compared.
    """
    booked, number = Counter[str](), Counter[str]()
    for call in calls:
        if call.state == "settled" and not (call.stand_in or call.elsewhere):
            booked[_day(call.at_ms)] += call.settled_nusd
            number[_day(call.at_ms)] += 1
    first, last = max(min(days), min(booked, default="")), max(days)
    for day in sorted(day for day in {*days, *booked} if first <= day <= last):
        over = booked[day] - days.get(day, 0)
        if not 0 <= over <= number[day]:
            note = f"booked ${over / NANO:+.6f} more than billed"
            yield Difference("dollars", day, booked[day], days.get(day, 0), note)


def settle_known(
    budget: Budget,
    calls: Sequence[CallRecord],
    invocations: Sequence[Invocation],
    prices: Prices,
    lists: Mapping[str, Prices] = {},
) -> list[CallRecord]:
    """Settle the open calls that the invocation log tells the outcome of; return them.

    The arguments are as for `with_invocations`.
    """
    requests = _by_call(invocations)
    settled = []
    for call in calls:
        logged = requests.get(call.id, ()) if call.state == "open" else ()
        nusd = _billed_nusd(logged, call, lists.get(call.prices, prices))
        if not logged or nusd is None:
            continue
        tokens = asdict(_tokens(logged))
        bill = {"tokens": tokens, "tier": call.tier, "stand_in": False}
        if budget.settle(call.id, nusd, bill=bill) == "closed":
            settled.append(call)
    return settled


def _by_call(invocations: Iterable[Invocation]) -> dict[str, list[Invocation]]:
    """Return the requests of each call; those of others than the fleet are under no id."""
    found = defaultdict[str, list[Invocation]](list)
    for one in distinct(invocations):
        found[one.call].append(one)
    return found


def _not_booked(one: Invocation, prices: Prices) -> Difference:
    nusd = _billed_nusd([one], None, prices)
    who = "a call" if one.call else "a call of another caller, without the id of a fleet's call,"
    return Difference("not_booked", one.call or one.request, None, nusd, f"{who} to {one.model}")


def _of_call(
    call: CallRecord, logged: Sequence[Invocation], prices: Prices
) -> Iterator[Difference]:
    nusd, billed = _billed_nusd(logged, call, prices), _tokens(logged)
    booked_nusd = None if call.state == "open" else call.settled_nusd
    if call.state == "open":
        yield Difference("unknown_outcome", call.id, None, nusd, f"job {call.job}")
    elif (call.tokens or Usage()) != billed:
        note = f"booked {_words(call.tokens)}, billed {_words(billed)}"
        yield Difference("tokens", call.id, call.settled_nusd, nusd, note)
    if sum(not one.failed for one in logged) > 1:
        note = f"{len(logged)} requests of one call"
        yield Difference("billed_twice", call.id, booked_nusd, nusd, note)
    for one in logged:
        if not (same_model(call.model, one.model) or same_model(call.base, one.model)):
            note = f"booked as {call.model}, billed as {one.model}"
            yield Difference("model", call.id, booked_nusd, nusd, note)


def _should_be_in(call: CallRecord, logged: Sequence[Invocation]) -> bool:
    """Return whether a log has to have a call: by its time, its region, and where it went.

    Bedrock does not log the records of batches.
    """
    times = [one.at_ms for one in logged if one.at_ms]
    regions = {one.region for one in logged} - {""}
    is_there = not (call.stand_in or call.elsewhere or call.tier == "batch")
    is_here = not regions or not call.region or call.region.partition(" ")[0] in regions
    return is_there and is_here and bool(times) and min(times) <= call.at_ms <= max(times)


def _tokens(logged: Sequence[Invocation]) -> Usage:
    """Return the tokens of all requests of a call; those that failed are free."""
    counts = [asdict(one.tokens) for one in logged if not one.failed]
    names = asdict(Usage())
    return Usage(**{name: sum(each[name] for each in counts) for name in names})


def _billed_nusd(
    logged: Sequence[Invocation], call: CallRecord | None, prices: Prices
) -> int | None:
    """Return what the logged requests cost; `None` if their model has no price."""
    tier: Tier = call.tier if call and call.tier else "default"  # type: ignore[assignment]  # `prices` refuses any other
    try:
        return sum(
            prices.cost(call.base if call and call.base else one.model, one.tokens, tier=tier)
            for one in logged
            if not one.failed
        )
    except Misconfigured:
        return None


def _words(tokens: Usage | None) -> str:
    if tokens is None:
        return "no tokens"
    return f"{tokens.prompt} in, {tokens.output} out"


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).date().isoformat()
