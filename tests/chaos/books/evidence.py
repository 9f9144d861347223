"""Collect what a run leaves behind, and balance all books over it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import redis

from books import content, jobs, money
from books.diary import Diary, Entry
from books.finding import Finding, Told, finding
from books.journal import Journal
from forebay.routing.jobs import Receipt
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget, Reservation
from forebay.routing.settings import Settings


@dataclass(slots=True)
class Evidence:
    """The traces that a run leaves behind.

    Attributes:
        told: what the producers were told.
        done: the number of faults, by verb.
        ends: the receipts of all jobs that ended.
        calls: every request that the mock of Bedrock saw.
        entries: the diary.
        journal: Redis' append-only file.
        unknown: the calls whose outcome is not known, so that they stay reserved.
        billed_nusd: what the mock billed for all calls.
        findings: the books.
    """

    told: Told
    done: Counter[str]
    ends: list[Receipt]
    calls: list[dict[str, Any]]
    entries: list[Entry]
    journal: Journal
    unknown: list[money.Unknown] = field(default_factory=list)
    billed_nusd: int = 0
    findings: list[Finding] = field(default_factory=list)


def gather(
    folder: Path, client: redis.Redis, mock_url: str, told: Told, done: Counter[str]
) -> Evidence:
    """Collect the evidence that disappears with the fleet, and balance the books over it."""
    ledger, spend = Ledger(client, Settings(), ""), Budget(client)
    calls, reservations = seen_calls(mock_url), list(_reservations(client, spend))
    ends = list(_receipts(ledger, told.all))
    costs = {end.id: end.cost_nusd for end in ends if end.id not in told.risked}
    findings = [
        *jobs.of_jobs(client, ledger, told),
        *money.of_money(spend, calls, told.risked),
        finding("a producer told what cannot be", told.wrong),
    ]
    diary = Diary(folder / "diary").entries()
    unknown = money.unknown_calls(reservations, calls, diary)
    if not told.risked:  # the writes that were lost with Redis' host cannot add up
        findings += money.of_bill(reservations, calls, unknown)
        findings += [*money.of_sums(spend, reservations), money.of_receipts(costs, reservations)]
    billed_nusd = sum(map(money.billed, calls))
    return Evidence(told, done, ends, calls, diary, Journal(), unknown, billed_nusd, findings)


def close(evidence: Evidence, folder: Path, term_s: float) -> None:
    """Balance the books over the files that a stopped fleet leaves behind."""
    marks = (content.DENY.encode(), content.OPEN.encode())
    evidence.journal = Journal(folder / "redis" / "appendonlydir", marks, evidence.told.forger)
    risked, logs = evidence.told.risked, folder.glob("logs/*")
    evidence.findings += [
        *jobs.of_ends(evidence.entries, evidence.journal, risked),
        *money.of_terms(evidence.calls, evidence.journal, term_s, risked),
        *content.of_content(evidence.calls, logs, evidence.journal),
        content.of_workers(evidence.entries),
        _left_over(folder),
    ]


def seen_calls(url: str) -> list[dict[str, Any]]:
    """Return every request that the mock of Bedrock saw."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_mock/calls", timeout=30) as response:
        calls: list[dict[str, Any]] = json.load(response)
    return calls


def plan_faults(
    url: str, rates: dict[str, float], seed: int, queued: Sequence[str | None] = ()
) -> None:
    """Tell the mock of Bedrock which faults to make from now on."""
    body = json.dumps({"rates": rates, "seed": seed, "queued": list(queued)}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"{url}/_mock/faults", data=body, timeout=10).close()


def _reservations(client: redis.Redis, spend: Budget) -> Iterator[Reservation]:
    for key in client.scan_iter("fb:spend:call:*", 1000):
        entry = spend.find(key.decode().removeprefix("fb:spend:call:"))
        if entry is not None:
            yield entry


def _receipts(ledger: Ledger, job_ids: set[str]) -> Iterator[Receipt]:
    ids = iter(sorted(job_ids))
    while some := list(islice(ids, 500)):
        yield from (one for one in ledger.results(some) if isinstance(one, Receipt))


def _left_over(folder: Path) -> Finding:
    mine = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHAOS_FOLDER") == str(folder):
                mine.append(str(process.pid))
        except psutil.Error:
            continue  # another user's process, or gone by now
    return finding("processes left", mine)
