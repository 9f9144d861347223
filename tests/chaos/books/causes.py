"""No job ends with a cause that is not its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from books.diary import Entry
from books.finding import Finding, finding
from books.journal import Journal
from forebay.routing.jobs import Receipt

MAX_ATTEMPTS = 4  # claims of a job in one hop, by default
#: What a billed answer without a usable text, or a refusal, ends a job with that is pinned to
#: Bedrock or has no local answer.
UNUSABLE = {"bad_answer", "model_refused"}


class Order(Protocol):
    """What a producer ordered; see `ordeal.workload`."""

    fails: frozenset[str]
    cancel_s: float | None
    options: Mapping[str, Any]


def of_causes(
    made: Mapping[str, Order],
    ends: Iterable[Receipt],
    entries: Sequence[Entry],
    calls: Sequence[Mapping[str, Any]],
    journal: Journal,
) -> Iterator[Finding]:
    """Check why jobs ended. `made`: by id, what was ordered."""
    lost = _lost_claims(entries, journal)
    spoiled = _spoiled(calls, journal)
    known = [(end, made[end.id]) for end in ends if end.id in made]
    yield finding("cancelled, and nobody did", (
        end.id for end, order in known if end.status == "cancelled" and order.cancel_s is None
    ))  # fmt: skip
    yield finding("expired without a deadline", (
        end.id for end, order in known
        if end.status == "expired" and "deadline" not in order.options
    ))  # fmt: skip
    yield finding("failed with another's cause", (
        f"{end.id} {end.error}, {lost[end.id]} claims lost" for end, order in known
        if end.status == "failed" and end.error not in order.fails
        and not (end.error == "engine_died" and lost[end.id] >= MAX_ATTEMPTS)
        and not (end.error in UNUSABLE and end.id in spoiled)
    ))  # fmt: skip


def _lost_claims(entries: Sequence[Entry], journal: Journal) -> Counter[str]:
    """Count, for each job, the claims that a worker lost or gave back with an error.

    The claims are those of Redis' file: a worker may die before it has written one down.
    """
    good = {entry.more for entry in entries if entry.what == "settle"}
    return Counter({
        job: len({change.token for change in life if change.state == "running"} - good)
        for job, life in journal.lives.items()
    })  # fmt: skip


def _spoiled(calls: Sequence[Mapping[str, Any]], journal: Journal) -> set[str]:
    """Return the jobs with a call that the mock answered badly."""
    bad = (call["call_id"] for call in calls if not (call["fault"] or "slow").startswith("slow"))
    return {journal.reserved[call_id][0] for call_id in bad if call_id in journal.reserved}
