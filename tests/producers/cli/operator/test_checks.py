"""`forebay doctor` says what died, what waits too long, and which leases ran out."""

from __future__ import annotations

import json
import re
import time

import pytest

from forebay.producers.cli.operator import checks
from forebay.routing.jobs import Job, Receipt, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from patience import until


def findings(forebay, name) -> list[tuple[str, str, str]]:
    _, out, _ = forebay("doctor", "--json")
    checks = json.loads(out)["checks"]
    return [(one["state"], one["seen"], one["mend"]) for one in checks if one["name"] == name]


def submit(ledger, tenant="acme") -> str:
    (job_id,) = ledger.create([Job(tenant=tenant, request=Summarize(text="t"))])
    return job_id


def test_a_quiet_fleet_is_well(forebay):
    assert findings(forebay, "dead jobs") == [("ok", "none", "")]
    assert findings(forebay, "oldest waiting") == []
    assert findings(forebay, "leases") == [("ok", "none ran out in the last hour", "")]


def test_dead_jobs_are_reported_by_code_and_tenant(forebay, ledger):
    for tenant, code in [("acme", "bad_answer")] * 2 + [("beta", "bad_answer"), ("acme", "x")]:
        submit(ledger, tenant)
        claim = ledger.claim("route")
        ledger.settle(claim, Receipt(**claim.record.heading(), status="failed", error=code))
    first, second = findings(forebay, "dead jobs")
    assert first[:2] == ("warn", "bad_answer: 3 (acme 2, beta 1)")
    assert "forebay dead list --code bad_answer" in first[2]
    assert second[:2] == ("warn", "x: 1 (acme 1)")


def test_a_job_that_waits_for_long_is_a_warning(forebay, ledger, redis):
    job_id = submit(ledger)
    assert findings(forebay, "oldest waiting")[0][0] == "ok"
    redis.hincrby(f"fb:job:{job_id}", "created", -3_600_000 * 3)
    ((state, seen, mend),) = findings(forebay, "oldest waiting")
    assert (state, seen) == ("warn", "route: interactive 3h")
    assert "start more workers" in mend


def test_leases_that_ran_out_are_reported(forebay, ledger, redis):
    short = Ledger(redis, Settings(lease_s=0.1), bell="x")
    submit(ledger)
    short.claim("route")
    until(lambda: short.sweep().back)
    ((state, seen, _),) = findings(forebay, "leases")
    assert (state, seen) == ("warn", "1 ran out in the last hour")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "http://127.0.0.1"])
def test_a_redis_that_cannot_be_reached_is_reported_once(forebay, monkeypatch, url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", url)
    _, out, _ = forebay("doctor", "--json")
    assert [one["name"] for one in json.loads(out)["checks"] if one["state"] == "fail"] == ["redis"]


def test_a_changed_password_of_redis_is_reported_once(forebay, redis):
    redis.config_set("requirepass", "new")
    try:
        _, out, _ = forebay("doctor", "--json")
    finally:
        redis.config_set("requirepass", "")
    failed = [one for one in json.loads(out)["checks"] if one["state"] == "fail"]
    assert [one["name"] for one in failed] == ["redis"]
    assert (
        failed[0]["mend"] == "correct FOREBAY_REDIS_URL: redis://USER:PASSWORD@HOST:PORT/DATABASE"
    )


def serve(ledger, name, **about):
    status = WorkerStatus(name=name, **{"queues": ("local.default",), **about})
    ledger.serve(name, ["local.default"], 10, status.model_dump_json())


@pytest.fixture
def reported(redis_url, monkeypatch):
    """Return what one check says under a name."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    return lambda check, name: [
        (one.state, one.seen, one.mend) for one in check() if one.name == name
    ]


def test_workers_that_do_well_are_one_line(reported, ledger):
    assert reported(checks.workers, "workers") == []
    for name in ("local1@here", "local2@here"):
        serve(ledger, name, jobs_minute=60, mean_s=0.5)
    assert reported(checks.workers, "workers") == [("ok", "all 2 are well", "")]


@pytest.mark.parametrize(
    ("about", "seen", "mend"),
    [
        (
            {"jobs_minute": 9, "mean_s": 5.0},
            "slow: 5 s a job; others of its queue take 0.5 s",
            "drain",
        ),
        ({"well": False}, "stuck: it takes no jobs", "see its log"),
        ({"drained": True}, "drained", "forebay workers resume local3@here"),
        (
            {"jobs_minute": 2, "mean_s": 9.0, "retries_minute": 900},
            "jobs went back to their queue 900 times in the last minute",
            "engine.ended",
        ),
    ],
    ids=["slow", "stuck", "drained", "gives-back"],
)
def test_a_worker_that_does_not_do_well_is_named(reported, ledger, about, seen, mend):
    for name in ("local1@here", "local2@here"):
        serve(ledger, name, jobs_minute=60, mean_s=0.5)
    serve(ledger, "local3@here", **about)
    assert reported(checks.workers, "workers") == []
    ((state, told, how),) = reported(checks.workers, "worker local3@here")
    assert (state, told) == ("warn", seen)
    assert mend in how


def test_a_bedrock_worker_whose_jobs_go_back_logs_why(reported, ledger):
    serve(ledger, "bedrock1@here", queues=("bedrock",), retries_minute=900)
    ((_, _, how),) = reported(checks.workers, "worker bedrock1@here")
    assert how == "its log says why: job.retried, bedrock.shut, bedrock.rests"


def test_a_budget_that_refused_calls_in_the_last_hour_is_named(reported, redis):
    day, now = int(time.time()) // 86_400, int(time.time() * 1_000)
    refused = {"acme:refused": now, "acme:last_refused": now, "acme:refusals": 3}
    redis.hset(f"fb:spend:day:{day}", mapping=refused | {"acme": 0, "acme:reserved": 0})
    ((state, seen, mend),) = reported(checks.budgets, "budget")
    assert seen.startswith("acme: the tenant's budget of the day refused 3 calls from")
    assert (state, mend) == ("warn", "raise it in the policy file, or wait for the next day")
    redis.hset(f"fb:spend:day:{day}", "acme:last_refused", now - 2 * 3_600_000)
    assert reported(checks.budgets, "budget") == []


def test_a_redis_that_lost_its_data_is_reported_with_the_time(reported, ledger):
    serve(ledger, "local1@here")
    assert reported(checks.emptied, "data") == []
    serve(ledger, "local2@here", emptied=1_795_892_884.0)
    ((state, seen, mend),) = reported(checks.emptied, "data")
    assert (state, "2026-11-28 19:08:04Z" in seen) == ("fail", True)
    assert "append-only file" in mend


def test_a_worker_that_is_gone_is_named_with_the_jobs_that_it_held(reported, ledger, redis):
    serve(ledger, "local1@here", busy=3)
    redis.zincrby("fb:workers", -60_000, "local1@here")
    ((_, seen, _),) = reported(checks.workers, "worker local1@here")
    assert re.match(r"gone: no heartbeat for 6\ds; others get the 3 jobs", seen)


def test_workers_with_another_policy_than_this_shell_are_named(reported, ledger):
    serve(ledger, "local1@here", policy=Policy().version)
    serve(ledger, "local2@here", policy="another")
    ((state, seen, mend),) = reported(checks.fleet_policy, "policy")
    assert (state, seen) == ("warn", "another one than that of local2@here")
    assert "FOREBAY_POLICY_FILE" in mend
