"""Every call is reserved before it is made, and booked at what the mock of Bedrock billed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any

from books.finding import Finding, finding
from books.journal import Journal
from forebay.routing.limits.budget import Budget, Reservation
from mock_bedrock.spoiled import hides_cost

REFUSED = 400  # HTTP status from which on Bedrock bills nothing
WASTED = {"refuse", "malformed"}  # billed without an answer: a second call buys nothing twice
#: Stands in the prompt of a repair, which shows the model its own wrong answer.
ANSWERED = '"role": "assistant"'
#: Billionths of a dollar for a token of the only model that is called: the list price with the
#: factor of its region (`routing/limits/prices.toml`).
INPUT_NUSD, OUTPUT_NUSD = 110, 550


def of_money(
    spend: Budget, calls: Sequence[dict[str, Any]], risked: AbstractSet[str] = frozenset()
) -> Iterator[Finding]:
    """Check that each call has an entry at what it cost, or is listed as unknown."""
    found = {call["call_id"]: spend.find(call["call_id"]) for call in calls}
    without = {call for call, entry in found.items() if entry is None}
    yield finding("calls without an entry", without - risked)
    maybe_paid = {call["call_id"] for call in calls if _may_be_paid(call)}
    free = (call for call in sorted(maybe_paid) if _state(found[call]) == "released")
    yield finding("calls that may be paid, and are booked as free", free)
    times = Counter(call["call_id"] for call in calls)
    yield finding("calls sent twice under one entry", (call for call, n in times.items() if n > 1))
    yield finding("calls booked at another amount", _misbooked(calls, found))


def _misbooked(
    calls: Sequence[dict[str, Any]], found: Mapping[str, Reservation | None]
) -> Iterator[str]:
    for call in calls:
        entry = found[call["call_id"]]
        if entry is not None and entry.state == "settled":
            billed = _billed(call, entry.reserved_nusd)
            if entry.settled_nusd != billed:
                yield f"{entry.call_id} {call['fault']}: {entry.settled_nusd}, not {billed}"


def _billed(call: Mapping[str, Any], reserved_nusd: int) -> int | None:
    """Return what must be booked for a call; None if nobody could know it."""
    if not call["whole"]:
        return None
    if hides_cost(call["fault"] or ""):
        return reserved_nusd
    read, written = int(call["cache_read"]), int(call["cache_written"])
    fresh = int(call["tokens_in"]) - read - written
    tenths = 10 * fresh * INPUT_NUSD + read * INPUT_NUSD + written * INPUT_NUSD * 25 // 2
    return -(-tenths // 10) + int(call["tokens_out"]) * OUTPUT_NUSD


def of_sums(spend: Budget, entries: Sequence[Reservation]) -> Iterator[Finding]:
    """Check that the day's books are the sums of their entries. A run must not pass midnight."""
    settled, reserved = spend.spent()
    booked = sum(entry.settled_nusd for entry in entries)
    held = sum(entry.reserved_nusd for entry in entries if entry.state == "open")
    wrong = [] if booked == settled else [f"settled {settled}, entries {booked}"]
    wrong += [] if held == reserved else [f"reserved {reserved}, entries {held}"]
    yield finding("sums of the day that are not those of its calls", wrong)


def of_receipts(costs: Mapping[str, int], entries: Sequence[Reservation]) -> Finding:
    """Check that each job's record says what its calls cost. `costs`: by job, from the records."""
    paid: Counter[str] = Counter()
    for entry in entries:
        paid[entry.job_id] += entry.settled_nusd
    wrong = (
        f"{job}: {cost}, its calls {paid[job]}" for job, cost in costs.items() if cost != paid[job]
    )
    return finding("jobs whose cost is not that of their calls", wrong)


def of_terms(
    calls: Sequence[dict[str, Any]],
    journal: Journal,
    term_s: float,
    risked: AbstractSet[str] = frozenset(),
) -> Iterator[Finding]:
    """Check that no job called again within the term of an earlier call that may be billed."""
    by_job: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for call in calls:
        job, reserved = journal.reserved.get(call["call_id"], ("", 0.0))
        wasted = call["fault"] in WASTED or ANSWERED in call["text"]
        if job and _may_be_paid(call) and not wasted:
            by_job[job].append((call["at"], reserved))
    again = {
        job for job, made in by_job.items()
        if any(late - reserved < term_s for (_, reserved), (late, _) in pairwise(sorted(made)))
    }  # fmt: skip
    yield finding("paid twice: called again within the term", again - risked)


def _state(entry: Reservation | None) -> str:
    return entry.state if entry else ""


def _may_be_paid(call: Mapping[str, Any]) -> bool:
    return call["status"] is None or call["status"] < REFUSED
