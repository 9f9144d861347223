"""Every call is reserved before it is made, and booked at what the mock of Bedrock billed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from books.diary import Entry
from books.finding import Finding, finding
from books.journal import Journal
from forebay.routing.limits.budget import Budget, Reservation
from mock_bedrock.spoiled import hides_cost

REFUSED = 400  # HTTP status from which on Bedrock bills nothing
TIMEOUT_S = 2.5  # of the fleets' calls, less what the mock's clock misses
SERVER_ERROR = 500  # HTTP status from which on nobody knows whether the model ran
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
    return reserved_nusd if hides_cost(call["fault"] or "") else billed(call)


def billed(call: Mapping[str, Any]) -> int:
    """Return what the mock billed for a call; 0 if it gave no answer."""
    read, written = int(call["cache_read"]), int(call["cache_written"])
    fresh = int(call["tokens_in"]) - read - written
    tenths = 10 * fresh * INPUT_NUSD + read * INPUT_NUSD + written * INPUT_NUSD * 25 // 2
    return -(-tenths // 10) + int(call["tokens_out"]) * OUTPUT_NUSD


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call whose outcome nobody in the fleet knows, so that its worst case stays reserved.

    Attributes:
        billed_nusd: what the mock billed for it, whether or not the answer arrived.
        cause: why the outcome is not known; empty if nothing explains it.
    """

    call_id: str
    job_id: str
    reserved_nusd: int
    billed_nusd: int
    cause: str


def unknown_calls(
    entries: Iterable[Reservation], calls: Sequence[Mapping[str, Any]], diary: Sequence[Entry]
) -> list[Unknown]:
    """List the calls of unknown outcome, with what the mock and the diary know of them."""
    seen = {call["call_id"]: call for call in calls}
    dead = {entry.pid for entry in diary if entry.what in {"died", "killed"}}
    noted = {entry.more: entry.pid in dead for entry in diary if entry.what == "reserve"}
    return [
        Unknown(
            entry.call_id, entry.job_id, entry.reserved_nusd,
            billed_nusd=billed(seen[entry.call_id]) if entry.call_id in seen else 0,
            # A worker that lives notes each call.
            cause=_cause(seen.get(entry.call_id), died=noted.get(entry.call_id, bool(dead))),
        )
        for entry in entries if entry.state == "open"
    ]  # fmt: skip


def _cause(call: Mapping[str, Any] | None, *, died: bool) -> str:
    if died:
        return "its worker died"
    if call is not None and call["whole"] and call["took_s"] >= TIMEOUT_S:
        return f"the mock answered after {call['took_s']:.1f} s"
    if call is not None and not call["whole"] and (call["status"] or SERVER_ERROR) >= SERVER_ERROR:
        return f"the mock's fault {call['fault']}" if call["fault"] else ""
    return ""


def of_bill(
    entries: Sequence[Reservation], calls: Sequence[Mapping[str, Any]], unknown: Sequence[Unknown]
) -> Iterator[Finding]:
    """Check the mock's whole bill against what is settled and what is unknown.

    An answer that hides its cost is settled at its worst case, as it has to be.
    """
    seen = {call["call_id"]: call for call in calls}
    settled = [entry for entry in entries if entry.state == "settled"]
    uncalled = (entry.call_id for entry in settled if entry.call_id not in seen)
    yield finding("booked, and never called", uncalled)
    surplus = sum(
        entry.settled_nusd - billed(seen[entry.call_id]) for entry in settled
        if entry.call_id in seen and hides_cost(seen[entry.call_id]["fault"] or "")
    )  # fmt: skip
    bill = sum(map(billed, calls))
    booked = sum(entry.settled_nusd for entry in settled)
    open_bill = sum(each.billed_nusd for each in unknown)
    wrong = f"billed {bill}, settled {booked}, worst cases {surplus}, unknown {open_bill}"
    balances = bill + surplus == booked + open_bill
    yield finding("the mock's bill is not what is booked", [] if balances else [wrong])
    yield finding("calls of an unknown outcome that nothing explains", (
        each.call_id for each in unknown if not each.cause
    ))  # fmt: skip
    yield finding("calls of unknown outcome that cost more than is reserved", (
        each.call_id for each in unknown if each.billed_nusd > each.reserved_nusd
    ))  # fmt: skip


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
