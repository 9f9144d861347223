"""Run the fleet, its producers and all faults, and wait until every job has ended."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import redis

import books
from books import Finding, Told
from conductor import Conductor
from diary import Diary, Entry
from doomedfleet import DoomedFleet
from forebay.routing.jobs import Receipt
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.record import ENDED
from forebay.routing.limits.budget import Budget
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from forebay.workers.frontier.settings import BedrockSettings
from journal import Journal
from local.process import PartFailed
from options import Options
from schedule import Amounts, plan
from workload import DENY, OPEN, POLICY, SHARES

LEASE_S = 2.0
BEDROCK_TIMEOUT_S = 3.0
TERM_S = BedrockSettings(bedrock_timeout_s=BEDROCK_TIMEOUT_S).bedrock_term_s
SUBMIT_S = 120.0  # seconds after the schedule's end
IDLE_S = TERM_S + 15  # seconds without the end of any job, after which no more will end
WORKERS = {"router": 2, "sweeper": 2, "bedrock": 2}
ENGINES = ("echo", "echo", "echo", "llamacpp")
ECHO = {"FOREBAY_ENGINE": "echo", "FOREBAY_POOL": "echo", "FOREBAY_SLOTS": "16"}


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
        findings: the books that were balanced while Redis ran.
    """

    told: Told
    done: Counter[str]
    ends: list[Receipt]
    calls: list[dict[str, Any]]
    entries: list[Entry]
    journal: Journal
    findings: list[Finding] = field(default_factory=list)


def undergo(options: Options, folder: Path, say: Callable[[str], None]) -> Evidence:
    """Run once, from the start of the fleet to its stop; return the evidence."""
    with DoomedFleet(folder, _environment(options, folder)) as fleet:
        _start(fleet, options)
        say(f"{len(fleet.procs)} parts are ready")
        began = time.monotonic()
        for share in range(SHARES):
            fleet.start_producer(share, options.seed, options.jobs, options.span_s)
        host_dies = options.durability == "everysec"
        conductor = Conductor(fleet, Diary(folder / "diary"), LEASE_S, host_dies=host_dies)
        amounts = Amounts.of(options.kills, options.points)
        conductor.run(plan(options.seed, amounts, options.span_s))
        conductor.quiet()
        _await_submits(fleet)
        say(f"calm after {time.monotonic() - began:.0f} s")
        client = connect(Settings(redis_url=fleet.url))
        told = Told.read(Diary(folder / "told").entries(), Diary(folder / "diary").entries())
        _await_ends(client, told)
        say(f"settled after {time.monotonic() - began:.0f} s")
        evidence = _gather(fleet, client, told, conductor)
    evidence.journal = Journal(folder / "redis" / "appendonlydir", (DENY.encode(), OPEN.encode()))
    evidence.findings += books.of_ends(evidence.entries, evidence.journal, told.risked)
    evidence.findings += books.of_terms(evidence.calls, evidence.journal, TERM_S, told.risked)
    evidence.findings += books.of_content(evidence.calls, folder.glob("logs/*"), evidence.journal)
    evidence.findings += [books.of_workers(evidence.entries), _left_over(folder)]
    return evidence


def _environment(options: Options, folder: Path) -> dict[str, str]:
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    return {
        "CHAOS_WITHOUT": options.without,
        "FOREBAY_POLICY_FILE": str(policy),
        "FOREBAY_LEASE_S": str(LEASE_S),
        "FOREBAY_SWEEP_S": "0.5",
        "FOREBAY_HANG_S": "3",
        "FOREBAY_BEDROCK_TIMEOUT_S": str(BEDROCK_TIMEOUT_S),
        "FOREBAY_BEDROCK_CONCURRENCY": "6",
    }


def _start(fleet: DoomedFleet, options: Options) -> None:
    # Redis never rewrites the file, so it holds every change.
    fleet.start_redis(appendfsync=options.durability, auto_aof_rewrite_percentage="0")
    fleet.start("mock_bedrock")
    for role, number in WORKERS.items():
        for _ in range(0 if role == options.without else number):
            fleet.start(role)
    for engine in ENGINES:
        fleet.start("local", **(ECHO if engine == "echo" else {"FOREBAY_ENGINE": engine}))
    fleet.wait_ready()


def _await_submits(fleet: DoomedFleet) -> None:
    for producer in fleet.of("producer"):
        if not producer.wait(SUBMIT_S):
            raise PartFailed(f"{producer.name} is not done\n{producer.tail()}")


def _await_ends(client: redis.Redis, told: Told) -> None:
    """Return when every job has ended, or when no job has ended for `IDLE_S` seconds."""
    left, ended_at = sorted(told.all), time.monotonic()
    while left and time.monotonic() - ended_at < IDLE_S:
        with client.pipeline(transaction=False) as pipe:
            for job_id in left:
                pipe.hget(f"fb:job:{job_id}", "state")
            states = pipe.execute()
        still = [
            job_id for job_id, state in zip(left, states, strict=True)
            if state is not None and state.decode() not in ENDED
        ]  # fmt: skip
        if len(still) < len(left):
            left, ended_at = still, time.monotonic()
        time.sleep(0.2)


def _gather(fleet: DoomedFleet, client: redis.Redis, told: Told, conductor: Conductor) -> Evidence:
    """Collect the evidence that disappears with the fleet."""
    ledger = Ledger(client, Settings(redis_url=fleet.url), "")
    calls = _seen_calls(fleet.mock_url)
    findings = [
        *books.of_jobs(client, ledger, told),
        *books.of_money(Budget(client), calls, told.risked),
        books.finding("a producer told what cannot be", told.wrong),
    ]
    ends = list(_receipts(ledger, told.all))
    entries = Diary(fleet.folder / "diary").entries()
    return Evidence(told, conductor.done, ends, calls, entries, Journal(), findings)


def _receipts(ledger: Ledger, job_ids: set[str]) -> Iterator[Receipt]:
    ids = iter(sorted(job_ids))
    while some := list(islice(ids, 500)):
        yield from (one for one in ledger.results(some) if isinstance(one, Receipt))


def _seen_calls(url: str) -> list[dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_mock/calls", timeout=30) as response:
        calls: list[dict[str, Any]] = json.load(response)
    return calls


def _left_over(folder: Path) -> Finding:
    mine = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHAOS_FOLDER") == str(folder):
                mine.append(str(process.pid))
        except psutil.Error:
            continue  # another user's process, or gone by now
    return books.finding("processes left", mine)
