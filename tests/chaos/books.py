"""Balance the books after a run: compare records that do not trust each other with the promises."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis

from diary import Entry
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.limits.budget import Budget
from journal import Journal
from workload import DENY, OPEN

RISK_S = 2.0  # Redis syncs every second, and documents that a sync may take one more
REFUSED = 400  # HTTP status from which on Bedrock bills nothing
WASTED = {"refuse", "malformed"}  # billed without an answer: a second call buys nothing twice


@dataclass(frozen=True, slots=True)
class Finding:
    """One book: the number of its wrong entries, which should be 0, and some of them."""

    name: str
    wrong: int
    some: tuple[str, ...] = field(default=())


def finding(name: str, wrong: Iterable[str]) -> Finding:
    """Count the wrong entries of a book."""
    found = list(wrong)
    return Finding(name, len(found), tuple(found[:5]))


@dataclass(frozen=True, slots=True)
class Told:
    """The replies that the producers got.

    Attributes:
        accepted: jobs that must end.
        doubtful: jobs that were tried, with no answer to the submit: they may exist or not.
        risked: jobs and calls with a write in the last moments before Redis' host died, while Redis
            synced once a second: no promise holds for these moments.
        wrong: jobs about which a producer was told something impossible.
    """

    accepted: set[str]
    doubtful: set[str]
    risked: set[str] = field(default_factory=set)
    wrong: tuple[str, ...] = ()

    @classmethod
    def read(cls, told: Sequence[Entry], entries: Sequence[Entry]) -> Told:
        """Read the diary of the producers, `told`, and that of all other processes."""
        said: defaultdict[str, set[str]] = defaultdict(set)
        for entry in told:
            said[entry.what].add(entry.about)
        ends = [entry.at for entry in entries if entry.what == "host"]
        late = [
            entry for entry in (*told, *entries)
            if any(end - RISK_S <= entry.at <= end for end in ends)
        ]  # fmt: skip
        risked = {name for entry in late for name in (entry.about, entry.more)}
        accepted = said["accepted"]
        return cls(accepted, said["tried"] - accepted, risked, tuple(said["wrong"] - risked))

    @property
    def all(self) -> set[str]:
        """Every job that may exist."""
        return self.accepted | self.doubtful


# --- jobs -----------------------------------------------------------------------------------------


def of_jobs(client: redis.Redis, ledger: Ledger, told: Told) -> Iterator[Finding]:
    """Check that every accepted job ended in one answer or one failure and left nothing behind."""
    there = {key.decode().removeprefix("fb:job:") for key in client.scan_iter("fb:job:*", 1000)}
    states = {job_id: ledger.record(job_id).state for job_id in sorted(there)}
    lost = told.accepted - there
    yield finding("accepted, and not there", lost - told.risked)
    yield finding("not ended", (job for job, state in states.items() if state not in ENDED))
    yield finding("there, and never submitted", there - told.accepted - told.doubtful)
    done = {job for job, state in states.items() if state == "done"}
    answers = {key.decode().split(":")[2] for key in client.scan_iter("fb:answer:*", 1000)}
    yield finding("done without an answer, or not done with one", done ^ answers)
    ended = {job for job, state in states.items() if state in ENDED}
    yield finding("keys of ended jobs without an end", _endless(client, ended))
    yield finding("ended jobs still in a set", _listed(client, ended))


def _endless(client: redis.Redis, ended: set[str]) -> Iterator[str]:
    keys = [key.decode() for key in client.scan_iter("fb:*", 1000)]
    owned = [key for key in keys if key.split(":")[2:3] and key.split(":")[2] in ended]
    owned += [key for key in keys if key.startswith("fb:idempotency:")]
    with client.pipeline(transaction=False) as pipe:
        for key in owned:
            pipe.ttl(key)
        lives = pipe.execute()
    return (key for key, ttl in zip(owned, lives, strict=True) if ttl == -1)


def _listed(client: redis.Redis, ended: set[str]) -> Iterator[str]:
    sets = [b"fb:leases", b"fb:later", b"fb:deadlines", *client.scan_iter("fb:waiting:*", 1000)]
    for name in sets:
        for member in client.zrange(name, 0, -1):
            if member.decode() in ended:
                yield f"{name.decode()} {member.decode()}"


def of_ends(
    entries: Sequence[Entry], journal: Journal, risked: AbstractSet[str] = frozenset()
) -> Iterator[Finding]:
    """Check that a job ends once and stays ended, in Redis' file and in the workers' diary."""
    lives = {job: [change.ended for change in life] for job, life in journal.lives.items()}
    yield finding("ended twice, by Redis' file", (job for job in lives if sum(lives[job]) > 1))
    yield finding("went on after its end", (job for job in lives if any(lives[job][:-1])))
    settled = Counter(entry.about for entry in entries if entry.what == "settle")
    twice = {job for job, times in settled.items() if times > 1}
    yield finding("settled twice, by the workers", twice - risked)


# --- money ----------------------------------------------------------------------------------------


def of_money(
    spend: Budget, calls: Sequence[dict[str, Any]], risked: AbstractSet[str] = frozenset()
) -> Iterator[Finding]:
    """Check that each call is reserved, and that no billable call is booked as free."""
    found = {call["call_id"]: spend.find(call["call_id"]) for call in calls}
    without = {call for call, entry in found.items() if entry is None}
    yield finding("calls without an entry", without - risked)
    maybe_paid = {call["call_id"] for call in calls if _may_be_paid(call)}
    free = (call for call in sorted(maybe_paid) if _state(found[call]) == "released")
    yield finding("calls that may be paid, and are booked as free", free)
    times = Counter(call["call_id"] for call in calls)
    yield finding("calls sent twice under one entry", (call for call, n in times.items() if n > 1))


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
        if job and _may_be_paid(call) and call["fault"] not in WASTED:
            by_job[job].append((call["at"], reserved))
    again = {
        job for job, made in by_job.items()
        if any(late - reserved < term_s for (_, reserved), (late, _) in pairwise(sorted(made)))
    }  # fmt: skip
    yield finding("paid twice: called again within the term", again - risked)


def _state(entry: Any) -> str:
    return entry.state if entry else ""


def _may_be_paid(call: dict[str, Any]) -> bool:
    return call["status"] is None or call["status"] < REFUSED


# --- content --------------------------------------------------------------------------------------


def of_content(
    calls: Sequence[dict[str, Any]], logs: Iterable[Path], journal: Journal
) -> Iterator[Finding]:
    """Check that no denied content left, and that only contents' own keys hold content."""
    yield finding(
        "calls with what may not leave", (c["call_id"] for c in calls if DENY in c["text"])
    )
    marks = re.compile(f"{DENY}|{OPEN}")
    yield finding("logs with content", (log.name for log in logs if marks.search(log.read_text())))
    yield Finding("records or messages with content", journal.leaks)


# --- processes ------------------------------------------------------------------------------------


def of_workers(entries: Sequence[Entry]) -> Finding:
    """Check that a worker only ends if killed, asked to, or without its engine at the start."""
    meant = {entry.pid for entry in entries if entry.what in {"killed", "died", "asked"}}
    began = {entry.pid for entry in entries if entry.what == "claim"}
    meant |= {entry.pid for entry in entries if entry.what == "engine"} - began
    return finding(
        "workers that ended by themselves",
        (f"{e.pid} with {e.about}" for e in entries if e.what == "ended" and e.pid not in meant),
    )
