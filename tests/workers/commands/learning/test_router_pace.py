"""`forebay router status` and `override`, and pacing in a fleet of real workers."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forebay.producers.client import Client
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Summarize
from forebay.routing.learning.audits import Audit
from forebay.routing.learning.calibration import Calibration, Calibrations
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import Settings
from forebay.workers.commands.learning import pace, status
from traffic import SCORES, Traffic, rules

pytestmark = pytest.mark.slow

POLICY = "[tenants.acme.pace]\nshare = 0.2\nusd_per_day = 5.0\n"

app = typer.Typer()
app.command("status")(status.status)
app.command("override")(pace.override)


@pytest.fixture
def forebay(redis, redis_url, tmp_path: Path, monkeypatch):
    """Return a function that runs `forebay router` and returns what it prints."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)
    monkeypatch.setenv("FOREBAY_POLICY_FILE", str(policy))

    def run(*args: str) -> str:
        done = CliRunner().invoke(app, args)
        if done.exception is not None:
            raise done.exception
        return done.output

    return run


def test_the_status_works_before_anything_has_run(forebay):
    words = forebay("status")
    assert (
        "acme: target 20.0% of its jobs and $5.00 a day\n  reached: no job was paced yet" in words
    )
    assert "no calibration is in force" in words
    assert " -" not in words
    (row,) = json.loads(forebay("status", "--json"))["tenants"]
    assert row["target"] == {"share": 0.2, "usd_per_day": 5.0, "before": 0.3}
    assert row["lines"] == []


def test_the_status_shows_shares_and_thresholds(forebay, redis):
    Traffic(redis).send(rules(share=0.2), 200, SCORES["even"], hard=0.05)
    document = json.loads(forebay("status", "--json"))
    (row,) = document["tenants"]
    before, after = row["lines"]
    assert document["version"]
    assert row["went"] == pytest.approx(0.2, abs=0.02)
    assert 0 < row["hard"] < 0.15
    assert (before["stage"], before["seen"]) == ("before", 200)
    assert after["threshold"] == pytest.approx(0.9, abs=0.1)
    words = forebay("status")
    assert "% of its jobs went to Bedrock\n  spent today: $0.0000\n" in words
    assert re.search(r"kind +answer +jobs +went up +aim +goes up from\n", words)
    assert re.search(r"classify +after +\d+ +[\d.]+% +[\d.]+% +doubt 0\.\d+", words)


def test_the_status_says_that_no_job_may_go(forebay, redis):
    Traffic(redis).send(rules(share=0.0), 20, SCORES["even"])
    assert re.search(r"classify +before +20 +0.0% +0.0% +none goes\n", forebay("status"))


def test_the_status_says_which_budget_refused_calls_and_what_shut_the_spillway(forebay, redis):
    day, now = int(time.time()) // 86_400, int(time.time() * 1_000)
    refused = {"acme:refused": now, "acme:last_refused": now, "acme:refusals": 3}
    redis.hset(f"fb:spend:day:{day}", mapping=refused)
    Spillway(redis).fail("*", "misconfigured", "the credentials have expired")
    words = forebay("status")
    assert "  the tenant's budget of the day refused 3 calls from" in words
    assert "  the spillway is shut for every model: the credentials have expired" in words
    (row,) = json.loads(forebay("status", "--json"))["tenants"]
    assert (row["refused"][0]["calls"], row["faults"][0]["scope"]) == (3, "*")


def test_without_a_target_the_status_names_no_aim(forebay, redis, monkeypatch):
    Traffic(redis).send(rules(share=0.2), 20, SCORES["even"])
    monkeypatch.delenv("FOREBAY_POLICY_FILE")
    words = forebay("status")
    assert "target none" in words
    assert re.search(r"classify +before +20 +[\d.]+% +none", words)


def audits(redis, count, **fields):
    """Store audits of a verdict and a doubt that are off by a quarter."""
    for number in range(count):
        audit = Audit(
            job=f"acme.{number:032x}", tenant="acme", kind="classify", type="t", version="v",
            score=0.2, probability=0.5, model="v", base_score=0.2, base_probability=0.5,
            agreement=1.0, doubt=0.5, outcome=float(number % 4 > 0), how="compared",
            **fields,
        )  # fmt: skip
        redis.xadd("fb:audits", {"audit": audit.model_dump_json()})


def test_the_status_says_how_well_predictions_are_calibrated_and_from_what(forebay, redis):
    audits(redis, 40)
    audits(redis, 5, stand_in=True)
    calibration = Calibration(model="v", audits=312, parts=("probability", "second"))
    Calibrations(redis).publish("*", calibration)
    Spillway(redis).announce("http://localhost:4567")
    redis.hset(f"fb:spend:day:{int(time.time() // 86_400)}", "acme:settled", 2 * 10**9)
    row = json.loads(forebay("status", "--json"))["tenants"][0]
    (found,) = row["confidence"]
    assert (found["audits"], found["stand_in"], found["outcome"]) == (40, 5, 0.75)
    assert (found["verdict_ece"], found["doubt_ece"]) == (0.25, 0.25)
    words = forebay("status")
    assert "calibration 1 for all tenants, made on " in words
    assert "  learned from 312 audits: the verdict's probability, the doubt with a second" in words
    assert re.search(r"kind +audits +right +verdict ECE +doubt ECE\n", words)
    assert re.search(r"classify +40 +75\.0% +0\.250 +0\.250\n", words)
    assert "5 audits by the mock of Bedrock are left out" in words
    assert "  spent today: $2.0000 by the mock of Bedrock, no real money\n" in words
    assert max(map(len, words.splitlines())) <= 80


def test_an_override_is_shown_until_it_is_cleared(forebay):
    forebay("override", "summarize", "--threshold", "0.4", "--for", "2h", "--stage", "after")
    (line,) = json.loads(forebay("status", "--json"))["tenants"][0]["lines"]
    assert (line["kind"], line["stage"]) == ("summarize", "after")
    assert line["override"]["value"] == 0.4
    assert 7_100 < line["override"]["ends_in_s"] <= 7_200
    assert "threshold 0.4 by hand" in forebay("status")
    forebay("override", "summarize", "--off")
    assert forebay("status").count("off by hand") == 2
    forebay("override", "summarize", "--clear")
    assert "by hand" not in forebay("status")


WRONG = [
    (["embed", "--off"], "KIND"),
    (["classify"], "KIND"),
    (["classify", "--off", "--share", "0.2"], "KIND"),
    (["classify", "--threshold", "nan"], "KIND"),
    (["classify", "--off", "--for", "soon"], "--for"),
    (["classify", "--off", "--for", "8d"], "--for"),
    (["classify", "--share", "0.2", "--stage", "after"], "--stage"),
    (["classify", "--threshold", "0.2", "--stage", "during"], "--stage"),
]


@pytest.mark.parametrize(("args", "field"), WRONG)
def test_a_wrong_override_is_one_clear_error_that_changes_nothing(forebay, redis, args, field):
    with pytest.raises(Misconfigured) as wrong:
        forebay("override", *args)
    assert wrong.value.field == field
    assert not redis.keys()


def test_a_name_that_no_tenant_can_have_is_a_wrong_option(forebay, redis):
    with pytest.raises(SystemExit) as end:
        forebay("override", "classify", "--off", "--tenant", "a:b")
    assert end.value.code == 2
    assert not redis.keys()


def test_workers_keep_the_pace_and_give_it_as_the_reason(fleet, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("[defaults.pace]\nshare = 0.5\nbefore = 1.0\n")
    fleet.start_redis()
    for part, more in (("router", {}), ("local", {"FOREBAY_ENGINE": "echo"}), ("sweeper", {})):
        fleet.start(part, FOREBAY_POLICY_FILE=str(policy), **more)
    fleet.start("mock_bedrock")
    fleet.start("bedrock", FOREBAY_POLICY_FILE=str(policy))
    fleet.wait_ready()
    request = Summarize(text="[[echo: say=We met at noon.]] We met at noon.")
    with Client(tenant="acme", settings=Settings(redis_url=fleet.url)) as client:
        answers = list(client.map([request] * 40, egress="allow", timeout=90))
        denied = client.run(request, egress="deny", timeout=90)
    lanes = [answer.lane for answer in answers]
    assert 14 <= lanes.count("bedrock") <= 26
    for answer in answers:
        reason = "pace_goes" if answer.lane == "bedrock" else "pace_stays"
        assert answer.reasons[0] == reason
    assert answers[-1].verdict.threshold == answers[-1].verdict.score
    assert denied.reasons == ("routed_at_submit", "egress_denied")
