"""The fleet's own figures are those of the ledger, the books, the breaker and Redis."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import pytest
import redis as redis_py
from prometheus_client import CollectorRegistry
from redis.backoff import NoBackoff
from redis.retry import Retry

from forebay.routing.fleets import fence
from forebay.routing.fleets.moving import state
from forebay.routing.jobs import Job, Receipt, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.quotas.model_load import ModelLoad
from forebay.routing.limits.spillway import ACCOUNT, Spillway
from forebay.routing.policy.tables import ModelRules
from forebay.routing.settings import Settings
from forebay.workers.telemetry.metrics import ledger_metrics
from forebay.workers.telemetry.metrics.ledger_metrics import LedgerMetrics
from ledger_jobs import BELL


@pytest.fixture
def ledger(redis, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("[defaults]\ndaily_budget_usd = 5.0\n[defaults.pace]\nshare = 0.2\n")
    return Ledger(redis, Settings(policy_file=policy), BELL)


@pytest.fixture
def read(ledger, monkeypatch):
    monkeypatch.setattr(ledger_metrics, "KEEP_S", -1)
    monkeypatch.setattr(ledger_metrics, "WALK_EVERY_S", -1)
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(ledger, tenants=2))
    return lambda name, **labels: registry.get_sample_value(f"forebay_{name}", labels)


def submit(ledger, tenant="acme", **options) -> str:
    (job_id,) = ledger.create([Job(tenant=tenant, request=Summarize(text="t"), **options)])
    return job_id


def test_queues_have_their_jobs_their_oldest_and_their_workers(ledger, read):
    submit(ledger)
    job_id = submit(ledger, priority="bulk")
    ledger.redis.hincrby(f"fb:job:{job_id}", "created", -60_000)
    about = WorkerStatus(name="router1@here", queues=("route",), slots=3)
    ledger.serve("router1@here", ["route"], 10, about.model_dump_json())
    assert read("queue_jobs", queue="route", **{"class": "interactive"}) == 1
    assert 60 <= read("queue_oldest_seconds", queue="route", **{"class": "bulk"}) < 70
    assert read("queue_workers", queue="route") == 1
    assert read("queue_slots", queue="route") == 3
    assert read("ledger_read") == 1


def test_jobs_that_run_wait_for_a_retry_or_are_dead(ledger, read):
    for tenant in ("a", "a", "b", "c"):
        submit(ledger, tenant)
        claim = ledger.claim("route")
        ledger.settle(claim, Receipt(**claim.record.heading(), status="failed", error="x"))
    for _ in range(3):
        submit(ledger)
    ledger.claim("route")
    ledger.retry(ledger.claim("route"), "throttled", delay_s=60)
    assert read("jobs_running", queue="route") == 1
    assert read("jobs_delayed") == 1
    dead = {tenant: read("dead_jobs", tenant=tenant) for tenant in ("a", "b", "c", "other")}
    assert (dead["a"], dead["other"]) == (2, 1)  # two tenants have labels of their own
    assert read("leases_recovered_hour") == 0


def test_shards_that_wait_and_jobs_that_are_due_soon_are_counted(ledger, read):
    for seconds in (30, 200, 3_000):
        submit(ledger, deadline=timedelta(seconds=seconds))
    ledger.sweep()  # which learns of the tenant
    ledger.redis.hset("fb:depth", "local.default:rows", 3)
    assert read("jobs_due", within="60") == 1
    assert read("jobs_due", within="300") == 2
    assert read("queue_shards", queue="local.default") == 3
    claim = ledger.claim("route")  # the job that is due first
    ledger.settle(claim, Receipt(**claim.record.heading(), status="failed", error="x"))
    assert read("jobs_due", within="60") == 0


def test_money_is_what_the_books_say(ledger, read):
    budget, limits = Budget(ledger.redis), {"term_s": 60}
    for call, tenant, nusd in (("1", "acme", 10**9), ("2", "beta", 2 * 10**9)):
        job = f"{tenant}.{call}"
        budget.reserve(call, job, tenant, nusd, **limits)
    budget.settle("1", 5 * 10**8)
    assert (read("spent_usd", tenant="acme"), read("reserved_usd", tenant="acme")) == (0.5, 0)
    assert read("reserved_usd", tenant="beta") == 2
    assert read("budget_left_usd", tenant="acme") == 4.5
    assert read("budget_left_usd", tenant="*") == 47.5
    assert (read("budget_usd", tenant="acme"), read("budget_usd", tenant="*")) == (5, 50)


def test_the_breaker_is_open_while_calls_are_held_back(ledger, read):
    assert read("breaker_open", model=ACCOUNT) == 0
    Spillway(ledger.redis).fail("anthropic.x", "access_denied", "not allowed")
    Spillway(ledger.redis).shut("throttled", 60)
    assert read("breaker_open", model=ACCOUNT) == 1
    assert read("breaker_open", model="anthropic.x") == 1
    load = ModelLoad(ledger.redis)
    slot = load.take("anthropic.y", "c1", ("acme.1", "t"), ModelRules(), 1)
    load.give(slot, "throttled", retry_after=60)
    assert read("breaker_open", model="anthropic.y") == 1


def test_a_move_that_somebody_left_shows_for_how_long_it_stands_at_its_step(ledger, read, redis):
    move = state.begin("west", "east")
    state.write(redis, "acme", move)
    assert read("tenant_move_seconds", tenant="acme", step="hold") < 60
    time.sleep(0.01)
    stood_s = read("tenant_move_seconds", tenant="acme", step="hold")
    assert stood_s >= 0.01
    state.write(redis, "acme", replace(move, step="fence"))
    assert read("tenant_move_seconds", tenant="acme", step="fence") < stood_s
    assert read("tenant_move_seconds", tenant="acme", step="hold") is None
    fence.put(redis, "acme", fence.Fence("east", "carried"))
    state.forget(redis, "acme")  # the fence of a tenant who has moved stays, and is no move
    assert read("tenant_move_seconds", tenant="acme", step="fence") is None


def test_redis_is_durable_or_not_and_new_jobs_are_refused_or_not(ledger, read, redis):
    assert read("redis_durable") == 1
    assert read("redis_memory_bytes") > 0
    assert read("submits_refused") == 0
    redis.set("fb:full", 90)
    redis.config_set("appendonly", "no")
    try:
        assert (read("redis_durable"), read("submits_refused")) == (0, 1)
    finally:
        redis.config_set("appendonly", "yes")


def test_without_redis_only_that_is_told_and_logged_once(caplog):
    nowhere = redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0))
    registry = CollectorRegistry()
    metrics = LedgerMetrics(Ledger(nowhere, Settings(), BELL), 2)
    registry.register(metrics)
    assert registry.get_sample_value("forebay_ledger_read") == 0
    metrics._read_at = float("-inf")
    assert registry.get_sample_value("forebay_ledger_read") == 0
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("cannot read queues")]) == 1
