"""A fleet at one moment, as an operator's screen shows it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from forebay.routing.errors import ForebayError
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.ledger.record import Record
from forebay.routing.limits.allowances import FLEET
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.limits.spillway import Spillway
from forebay.routing.overview.all_jobs import AllJobs
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.recovered import leases_recovered
from forebay.routing.overview.waiting import CLASSES, JOB_CLASSES, WaitingJobs
from forebay.routing.overview.workers import SeenWorker, Workers, other_policies
from forebay.routing.policy.policy_file import Policy
from forebay.routing.store.connection import reaching_redis, text_of

MAX_RUNNING = 5_000  # jobs whose queues are counted
FAILURES = 8
#: Looking for dead jobs walks all keys, so it is done less often than everything else.
LOOK_FOR_DEAD_S = 15.0


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue: jobs that wait by class, jobs that run, and live workers.

    Attributes:
        oldest_s: the age of the oldest waiting job. Shards do not count: those of a large bulk wait
            long while all is well.
    """

    queue: str
    waiting: dict[str, int]
    oldest_s: float
    running: int
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a fleet now.

    Attributes:
        at_ms: the time by Redis' clock.
        delayed: jobs that wait for their retry.
        recovered: leases that ran out in the last hour.
        memory: share of Redis' `maxmemory` in use; `None` if there is no limit.
        spent: billionths of a dollar settled and reserved today, by tenant; `*` is all together.
        shut: why Bedrock is shut; empty if it is open.
        paused: the scopes that an operator has paused.
        dead: how many dead jobs there are, by tenant, kind and code.
        failures: the newest of them.
        workers: what the workers say of themselves.
        budgets: budgets of the day of those that have spent, in billionths of a dollar; `*` is the
            fleet's. `None` if the policy file cannot be read here, or is not that of the workers.
        mocked: Bedrock is the mock of it on this machine, so what was spent is no money.
        unreached: of several fleets, those that could not be asked and are missing here.
        unswept: likewise those without a sweeper.
    """

    at_ms: int
    queues: tuple[QueueLine, ...]
    delayed: int
    recovered: int
    memory: float | None
    spent: dict[str, tuple[int, int]]
    shut: str
    paused: tuple[str, ...]
    dead: Counter[tuple[str, str, str]]
    failures: tuple[Record, ...]
    workers: tuple[SeenWorker, ...]
    budgets: dict[str, int] | None
    mocked: bool = False
    unreached: tuple[str, ...] = ()
    unswept: tuple[str, ...] = ()


class Snapshots:
    """Takes snapshots of one fleet. Raises `Unavailable` or `Misconfigured` as the parts do."""

    def __init__(self, reader: LedgerReader, failures: int = FAILURES) -> None:
        """`failures` is how many of the newest dead jobs a snapshot names."""
        self._reader, self._redis, self._max_failures = reader, reader.redis, failures
        self._jobs, self._waiting = AllJobs(reader), WaitingJobs(reader.redis)
        self._dead_at = float("-inf")
        self._dead, self._failures = Counter[tuple[str, str, str]](), list[Record]()

    def take(self) -> Snapshot:
        """Return the fleet as it is now."""
        self._look_for_dead()
        with reaching_redis():
            delayed: Any = self._redis.zcard("fb:later")
        spent = Budget(self._redis).owners()
        workers = Workers(self._redis).all()
        return Snapshot(
            at_ms=self._jobs.now_ms(), queues=self._queues(), delayed=delayed,
            recovered=leases_recovered(self._redis), memory=self._memory(),
            spent=spent, shut=self._shut(),
            paused=tuple(pause.scope for pause in Pauses(self._redis).all()),
            dead=self._dead, failures=tuple(self._failures),
            workers=tuple(workers), budgets=self._budgets(spent, workers),
            mocked=Spillway(self._redis).is_mocked(),
        )  # fmt: skip

    def _queues(self) -> tuple[QueueLine, ...]:
        with reaching_redis():
            held: Any = self._redis.zrange("fb:leases", 0, MAX_RUNNING - 1)
        records = self._reader.records(list(map(text_of, held)))
        running = Counter(record.queue for record in records)
        workers, lines = self._reader.workers(), self._waiting.lines()
        jobs = [line for line in lines if line.priority in JOB_CLASSES]
        names = {line.queue for line in lines} | workers.keys() | running.keys()
        return tuple(
            QueueLine(
                name,
                {line.priority: line.depth for line in lines if line.queue == name}
                or dict.fromkeys(CLASSES, 0),
                max((line.oldest_s for line in jobs if line.queue == name), default=0.0),
                running[name],
                tuple(workers.get(name, ())),
            )
            for name in sorted(names)
        )

    def _memory(self) -> float | None:
        with reaching_redis():
            info: Any = self._redis.info("memory")
        limit = int(info.get("maxmemory", 0))
        return int(info["used_memory"]) / limit if limit else None

    def _budgets(
        self, spent: Iterable[str], workers: Iterable[SeenWorker]
    ) -> dict[str, int] | None:
        """Return the fleet's budget, and those of the tenants that have spent."""
        try:
            policy = Policy.load(self._reader.settings.policy_file)
        except ForebayError:
            return None
        if other_policies(policy.version, workers):
            return None
        limits = {FLEET: policy.fleet.daily_budget_nusd}
        limits |= {
            name: policy.tenant(name).daily_budget_nusd
            for name in spent if name != FLEET and ":" not in name
        }  # fmt: skip
        return {name: limit for name, limit in limits.items() if limit is not None}

    def _shut(self) -> str:
        spillway = Spillway(self._redis)
        reasons = [fault.reason for fault in spillway.faults()]
        left_s = spillway.shut_for_s()
        return reasons[0] if reasons else f"for {left_s:.0f} s more" if left_s else ""

    def _look_for_dead(self) -> None:
        if time.monotonic() - self._dead_at > LOOK_FOR_DEAD_S:
            found = self._jobs.find_dead(JobFilter(), limit=self._max_failures)
            self._dead, self._failures = found.counts, found.records
            self._dead_at = time.monotonic()
