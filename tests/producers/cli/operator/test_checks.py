"""`forebay doctor` says what died, what waits too long, and which leases ran out."""

from __future__ import annotations

import json

import pytest

from forebay.routing.jobs import Job, Receipt, Summarize
from forebay.routing.ledger.ledger import Ledger
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
