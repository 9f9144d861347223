"""Reads what the page shows, from one Redis: all of the fleet, or one tenant's part of it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, cast

import redis

from forebay.producers.gateway.status.views.dead_letters import MAX_LISTED, read_dead_letters
from forebay.producers.gateway.status.views.fleet_view import (
    BudgetLine,
    FleetView,
    LastHour,
    WorkerLine,
)
from forebay.routing.books.job_history import History, Minute
from forebay.routing.books.targets.refusals import Refusals, refused_lately
from forebay.routing.bulk.bulks import ENDED, BulkRecord, Bulks
from forebay.routing.lanes import SWEEP, hop_of
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pause, Pauses
from forebay.routing.overview.all_jobs import KEYS_PER_SCAN, AllJobs, for_operators
from forebay.routing.overview.job_filter import JobFilter
from forebay.routing.overview.snapshot import Snapshot, Snapshots
from forebay.routing.policy.policy_file import PolicyFile
from forebay.routing.store.connection import reaching_redis

MAX_BULKS = 20
MAX_SHOWN = 50  # tenants whose budgets are listed
MAX_TENANTS = 500  # whose dead letters and bulks are looked for
#: Looking for tenants walks all keys, so it is done less often than everything else.
LOOK_FOR_TENANTS_S = 15.0
FLEET = "*"


class FleetSource:
    """Reads the whole fleet. Needs a user of Redis that may walk all keys."""

    def __init__(self, ledger: Ledger, policy: PolicyFile) -> None:
        self._ledger, self._redis, self._policy = ledger, ledger.redis, policy
        self._snapshots = Snapshots(ledger, failures=MAX_LISTED)
        self._bulks = Bulks(ledger)
        self._tenants = {"dead": set[str](), "bulks": set[str]()}
        self._looked_at = float("-inf")

    def take(self) -> FleetView:
        """Return the fleet as it is now.

        Raises:
            Misconfigured: This user of Redis may not look at all tenants.
            Unavailable: Redis cannot be reached.
        """
        with for_operators():
            now = self._snapshots.take()
            minutes = History(self._redis).last(60)
            pauses = Pauses(self._redis).all()
            return FleetView(
                at_ms=now.at_ms, tenant=None, fleet=now, workers=_workers(now, pauses),
                hour=LastHour.of(minutes), has_history=_known(minutes), budgets=self._budgets(),
                refused=self._refused(now.at_ms), bulks=self._all_bulks(),
                dead=read_dead_letters(self._ledger, self._having("dead"), now.failures, now.dead),
                pauses=tuple(pauses),
            )  # fmt: skip

    def _budgets(self) -> tuple[BudgetLine, ...]:
        """Return today's money: the fleet's, and that of tenants who spend or have a policy."""
        policy, owners = self._policy.current(), Budget(self._redis).owners()
        names = {name for name in owners if name != FLEET and ":" not in name} | {*policy.tenants}
        lines = [
            BudgetLine(name, *owners.get(name, (0, 0)), policy.tenant(name).daily_budget_nusd)
            for name in sorted(names)
        ]
        lines.sort(key=lambda line: -(line.spent + line.reserved))
        fleet = BudgetLine(FLEET, *owners.get(FLEET, (0, 0)), policy.fleet.daily_budget_nusd)
        return (fleet, *lines[:MAX_SHOWN])

    def _refused(self, at_ms: int) -> tuple[Refusals, ...]:
        policy = self._policy.current()
        tenants = sorted(Budget(self._redis).tenants() | {*policy.tenants})[:MAX_TENANTS]
        return tuple(refused_lately(self._redis, policy, tenants, at_ms / 1_000))

    def _all_bulks(self) -> tuple[BulkRecord, ...]:
        tenants = self._having("bulks")
        return newest(bulk for tenant in tenants for bulk in self._bulks.list(tenant))

    def _having(self, family: str) -> list[str]:
        """Return the tenants that have dead letters or bulks; new ones are found in 15 s.

        Tenants that have jobs now are found at once.
        """
        if time.monotonic() - self._looked_at > LOOK_FOR_TENANTS_S:
            for name, found in self._tenants.items():
                keys = self._redis.scan_iter(match=f"fb:{name}:*", count=KEYS_PER_SCAN)
                found |= {key.decode().removeprefix(f"fb:{name}:") for key in keys}
            self._looked_at = time.monotonic()
        busy = cast("list[bytes]", self._redis.hkeys("fb:tenants"))
        names = self._tenants[family] | {name.decode("utf-8", "replace") for name in busy}
        return sorted(names)[:MAX_TENANTS]


class TenantSource:
    """Reads what is known of one tenant, as its own producers may."""

    def __init__(self, ledger: Ledger, policy: PolicyFile, tenant: str) -> None:
        self._ledger, self._policy, self._tenant = ledger, policy, tenant
        self._jobs = AllJobs(ledger)

    def take(self) -> FleetView:
        """Return the tenant's part of the fleet as it is now.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        settled, reserved = Budget(self._ledger.redis).spent(self._tenant)
        policy, at_ms = self._policy.current(), self._jobs.now_ms()
        budget = policy.tenant(self._tenant).daily_budget_nusd
        refused = refused_lately(self._ledger.redis, policy, [self._tenant], at_ms / 1_000)
        found = self._jobs.find_dead(JobFilter(tenant=self._tenant), limit=MAX_LISTED)
        return FleetView(
            at_ms=at_ms, tenant=self._tenant, fleet=None, workers=(),
            hour=LastHour(Counter()), has_history=False,
            budgets=(BudgetLine(self._tenant, settled, reserved, budget),),
            refused=tuple(each for each in refused if each.scope == "tenant"),
            dead=read_dead_letters(self._ledger, [self._tenant], found.records, found.counts),
            bulks=newest(Bulks(self._ledger).list(self._tenant)), pauses=(),
        )  # fmt: skip


def newest(bulks: Any) -> tuple[BulkRecord, ...]:
    """Return the newest bulks, those that run before those that have ended."""
    ordered = sorted(bulks, key=lambda bulk: (bulk.state in ENDED, -bulk.created))
    return tuple(ordered[:MAX_BULKS])


def now_ms(client: redis.Redis) -> int:
    """Return the time by Redis' clock, in Unix milliseconds."""
    with reaching_redis():
        seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _known(minutes: list[Minute]) -> bool:
    return any(minute.waiting is not None or minute.counts for minute in minutes)


def _workers(now: Snapshot, pauses: list[Pause]) -> tuple[WorkerLine, ...]:
    """Return the workers, by name, with what holds them back."""
    held = {pause.scope: pause.reason or "by an operator" for pause in pauses}
    return tuple(WorkerLine(seen, _held(held, seen.status.queues)) for seen in now.workers)


def _held(held: dict[str, str], queues: tuple[str, ...]) -> str:
    """Return why a worker takes no jobs, if all its lanes are paused; else an empty text."""
    lanes = {f"lane:{hop_of(queue)}" for queue in queues if queue != SWEEP}
    if not lanes or not lanes <= held.keys():
        return ""
    return held[min(lanes)]
