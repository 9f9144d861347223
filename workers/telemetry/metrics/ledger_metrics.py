"""Metrics of the fleet as a whole: what the ledger, the books and Redis say. docs/metrics.md."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from forebay.routing.base import NANO
from forebay.routing.errors import ForebayError
from forebay.routing.fleets.moving import state
from forebay.routing.lanes import SHARDS
from forebay.routing.ledger.reader import LedgerReader
from forebay.routing.limits.allowances import FLEET
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from forebay.routing.limits.quotas.model_load import ModelLoad
from forebay.routing.limits.spillway import ACCOUNT, Spillway
from forebay.routing.logs import Event, event
from forebay.routing.overview.pacing_report import PacingReport
from forebay.routing.overview.recovered import leases_recovered
from forebay.routing.overview.waiting import JOB_CLASSES, WaitingJobs
from forebay.routing.overview.workers import Workers
from forebay.routing.policy.policy_file import Policy, PolicyFile
from forebay.routing.store.connection import clock_of, reaching_redis, text_of
from forebay.workers.telemetry.metrics.batch_metrics import batch_metrics
from forebay.workers.telemetry.metrics.families import family, gauge, gauge_by
from forebay.workers.telemetry.metrics.labels import largest

log = logging.getLogger(__name__)

KEEP_S = 2.0  # figures are read at most so often, however many scrape
WALK_EVERY_S = 60.0  # over all keys
DEAD, MOVE = "fb:dead:", state.key("")
MAX_RUNNING = 5_000  # jobs whose queues are counted
KEYS_PER_SCAN = 5_000
MAX_PAUSES = 100  # that are shown
DUE_WITHIN_S = (60, 300)  # deadlines that count as near


class LedgerMetrics(Collector):
    """Reads the figures of one Redis when they are asked for.

    Args:
        ledger: reads; its user must be allowed to read books, breaker and pace.
        tenants: how many tenants have labels of their own; the others' figures are added up.
    """

    def __init__(self, ledger: LedgerReader, tenants: int) -> None:
        self._ledger, self._redis, self._tenants = ledger, ledger.redis, tenants
        self._policy = PolicyFile(ledger.settings.policy_file)
        self._read_at, self._figures = float("-inf"), list[Metric]()
        self._failed = set[str]()
        self._walked_at, self._dead = float("-inf"), dict[str, float]()
        self._moving = dict[tuple[str, str], float]()  # tenant and step -> when it was first seen

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; of Redis that cannot be reached only that it cannot."""
        if time.monotonic() - self._read_at > KEEP_S:
            self._figures = list(self._read())
            self._read_at = time.monotonic()
        yield from self._figures

    def _read(self) -> Iterator[Metric]:
        """Yield all that can be read. A part that this Redis user may not read is left out."""
        failed = set[str]()
        for part in (
            self._queues, self._jobs, self._due, self._money, self._breaker, self._pace,
            self._batches, self._moves, self._memory,
        ):  # fmt: skip
            try:
                yield from list(part())
            except ForebayError as error:
                failed.add(part.__name__)
                self._complain(part.__name__, error)
        self._failed = failed
        yield gauge("ledger_read", "1 if all figures of the ledger were read", int(not failed))

    def _complain(self, part: str, error: ForebayError) -> None:
        """Log that a part cannot be read, when it fails first."""
        if part not in self._failed:
            name = part.strip("_")
            log.warning("cannot read %s: %s", name, error, extra=event(Event.METRICS_AWAY))

    def _queues(self) -> Iterator[Metric]:
        """Yield what waits in each queue, since when, and how many workers serve it."""
        jobs = family("queue_jobs", "Jobs that wait", "queue", "class")
        oldest = family("queue_oldest_seconds", "Age of the oldest job", "queue", "class")
        for line in WaitingJobs(self._redis).lines(JOB_CLASSES):
            jobs.add_metric([line.queue, line.priority], line.depth)
            oldest.add_metric([line.queue, line.priority], line.oldest_s)
        workers = family("queue_workers", "Live workers that serve the queue", "queue")
        for queue, count in sorted(self._ledger.workers().items()):
            workers.add_metric([queue], len(count))
        slots = family("queue_slots", "Jobs that its live workers work at once", "queue")
        for queue, places in sorted(Workers(self._redis).slots().items()):
            slots.add_metric([queue], places)
        yield from (jobs, oldest, workers, slots)

    def _jobs(self) -> Iterator[Metric]:
        """Yield the jobs that run, wait for a retry, or are dead."""
        with reaching_redis():
            ids: Any = self._redis.zrange("fb:leases", 0, MAX_RUNNING - 1)
            delayed: Any = self._redis.zcard("fb:later")
        running = family("jobs_running", "Jobs that workers hold", "queue")
        counts = Counter(record.queue for record in self._ledger.records(list(map(text_of, ids))))
        for queue, count in sorted(counts.items()):
            running.add_metric([queue], count)
        yield running
        yield gauge("jobs_delayed", "Jobs that wait for their retry", delayed)
        yield gauge_by("dead_jobs", "Dead jobs that were not replayed", "tenant", self._dead_jobs())
        recovered = leases_recovered(self._redis)
        yield gauge("leases_recovered_hour", "Leases that ran out in the last hour", recovered)

    def _due(self) -> Iterator[Metric]:
        """Yield the shards that wait, and the jobs whose deadline is near, for autoscaling."""
        shards = family("queue_shards", "Shards of bulks that wait", "queue")
        depths = self._ledger.depths()
        for queue in sorted({name.removesuffix(SHARDS) for name in depths}):
            shards.add_metric([queue], depths.get(queue + SHARDS, 0))
        yield shards
        due = family("jobs_due", "Jobs whose deadline is near", "within")
        with reaching_redis():
            now_s = clock_of(self._redis)
            tenants: Any = self._redis.hkeys("fb:tenants")
            keys = ["fb:deadlines", *(f"fb:deadlines:{text_of(tenant)}" for tenant in tenants)]
            for within_s in DUE_WITHIN_S:
                last_ms = (int(now_s) + within_s) * 1000
                with self._redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.zcount(key, "-inf", last_ms)
                    due.add_metric([str(within_s)], sum(pipe.execute()))
        yield due

    def _dead_jobs(self) -> dict[str, float]:
        """Return the number of dead jobs by tenant, at most a minute old."""
        self._walk()
        return largest(self._dead, self._tenants)

    def _walk(self) -> None:
        """Walk all keys once a minute, for what has no index: dead jobs, and moves of tenants."""
        if time.monotonic() - self._walked_at <= WALK_EVERY_S:
            return
        with reaching_redis():
            keys = self._redis.scan_iter(match="fb:[dm][eo]*", count=KEYS_PER_SCAN)
            found = list(map(text_of, keys))
            dead = [key for key in found if key.startswith(DEAD)]
            with self._redis.pipeline(transaction=False) as pipe:
                for key in dead:
                    pipe.zcard(key)
                sizes = pipe.execute()
        self._dead = {key.removeprefix(DEAD): float(n) for key, n in zip(dead, sizes, strict=True)}
        tenants = [key.removeprefix(MOVE) for key in found if key.startswith(MOVE)]
        steps = {tenant: state.read(self._redis, tenant, "") for tenant in tenants}
        standing = {(tenant, move.step) for tenant, move in steps.items() if move is not None}
        now = time.monotonic()
        self._moving = {each: self._moving.get(each, now) for each in standing}
        self._walked_at = now

    def _money(self) -> Iterator[Metric]:
        """Yield what was spent and reserved today, and what is left of each budget."""
        owners, policy = Budget(self._redis).owners(), self._policy.current()
        tenants = {name: sums for name, sums in owners.items() if name != FLEET and ":" not in name}
        spent, reserved = ({name: sums[i] / NANO for name, sums in tenants.items()} for i in (0, 1))
        yield gauge_by("spent_usd", "Spent today, UTC", "tenant", largest(spent, self._tenants))
        yield gauge_by(
            "reserved_usd", "Reserved for calls", "tenant", largest(reserved, self._tenants)
        )
        left = {name: left for name in tenants if (left := _left(policy, name, owners)) is not None}
        shown = dict(sorted(left.items(), key=lambda item: item[1])[: self._tenants])
        fleet = _left(policy, FLEET, owners)
        shown |= {} if fleet is None else {FLEET: fleet}
        budgets = {name: (_budget_nusd(policy, name) or 0) / NANO for name in shown}
        yield gauge_by("budget_usd", "The budget of the day", "tenant", budgets)
        yield gauge_by("budget_left_usd", "Left of the budget of the day", "tenant", shown)

    def _breaker(self) -> Iterator[Metric]:
        """Yield whether the way to Bedrock is shut, for all models or for some, and all pauses."""
        spillway = Spillway(self._redis)
        shut = family("breaker_open", "1 while calls are held back", "model")
        held = {fault.scope: 1 for fault in spillway.faults()}
        held |= dict.fromkeys(ModelLoad(self._redis).resting(), 1)
        for scope, value in ({ACCOUNT: int(spillway.shut_for_s() > 0)} | held).items():
            shut.add_metric([scope], value)
        yield shut
        paused = family("paused", "1 while an operator holds this back", "scope")
        for pause in Pauses(self._redis).all()[:MAX_PAUSES]:
            paused.add_metric([pause.scope], 1)
        yield paused

    def _batches(self) -> Iterator[Metric]:
        """Yield the batches on Bedrock, and the jobs that wait for one."""
        yield from batch_metrics(self._redis, self._policy.current().batch)

    def _moves(self) -> Iterator[Metric]:
        """Yield for how long the move of a tenant to another fleet has stood at its step.

        A move that somebody began and nobody ended holds back the tenant's jobs.
        """
        self._walk()
        moves = family("tenant_move_seconds", "Age of an unfinished step", "tenant", "step")
        first = sorted(self._moving.items(), key=lambda item: item[1])[: self._tenants]
        for (tenant, step), since in first:
            moves.add_metric([tenant, step], time.monotonic() - since)
        yield moves

    def _pace(self) -> Iterator[Metric]:
        """Yield the share of jobs that goes to Bedrock, and the share that is aimed at."""
        share = family("escalation_share", "Share of jobs that went to Bedrock", "tenant")
        target = family("escalation_target", "Share that the policy aims at", "tenant")
        report = PacingReport(self._redis)
        for tenant in report.tenants()[: self._tenants]:
            went = report.account(tenant).went
            if went is not None:
                share.add_metric([tenant], went)
            aim = self._policy.current().tenant(tenant).pace.share
            if aim != "none":
                target.add_metric([tenant], aim)
        yield from (share, target)

    def _memory(self) -> Iterator[Metric]:
        """Yield the memory of Redis, whether new jobs are refused, and if it is durable."""
        with reaching_redis():
            info: Any = self._redis.info("everything")
            refuses: Any = self._redis.exists("fb:full")
        durable = info.get("aof_enabled") and info.get("aof_last_write_status", "ok") == "ok"
        yield gauge("redis_memory_bytes", "Memory in use by Redis", info["used_memory"])
        yield gauge("redis_memory_limit_bytes", "maxmemory; 0 is none", info.get("maxmemory", 0))
        yield gauge("redis_durable", "1 if Redis writes its append-only file", int(bool(durable)))
        yield gauge("submits_refused", "1 while new jobs are refused for memory", refuses)


def _left(policy: Policy, owner: str, owners: dict[str, tuple[int, int]]) -> float | None:
    """Return the dollars left of a budget of the day; `None` if there is no limit."""
    budget = _budget_nusd(policy, owner)
    return None if budget is None else max(0, budget - sum(owners.get(owner, (0, 0)))) / NANO


def _budget_nusd(policy: Policy, owner: str) -> int | None:
    rules = policy.fleet if owner == FLEET else policy.tenant(owner)
    return rules.daily_budget_nusd
