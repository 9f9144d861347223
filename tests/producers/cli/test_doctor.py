"""The checks of the submitting side: against a real server in many states, and without one."""

import json
import re
import sys

import pytest

from forebay.producers.cli import display, doctor
from forebay.producers.cli import main as cli
from forebay.routing.diagnostics import Finding
from forebay.routing.errors import Misconfigured
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.spillway import Spillway
from forebay.routing.settings import Settings
from forebay.routing.store.connection import without_password
from patience import examined


@pytest.fixture
def config(redis):
    """Return a function that changes settings of the server, and restore them afterwards."""
    names = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    before = {name: redis.config_get(name)[name] for name in names}
    yield redis.config_set
    for name, value in before.items():
        redis.config_set(name, value)


def findings():
    return {finding.name: finding for finding in examined([doctor.ledger])}


def states():
    return {name: finding.state for name, finding in findings().items()}


# --- Redis ----------------------------------------------------------------------------------------


def test_a_well_configured_server_passes(config, redis_url):
    config("appendonly", "yes")
    config("appendfsync", "everysec")
    config("maxmemory", "512mb")
    config("maxmemory-policy", "noeviction")
    found = findings()
    for name in ("redis", "eviction", "memory", "durability", "replication", "clock"):
        assert found[name].state == "ok", found[name]
    assert found["redis"].seen.startswith("Valkey 9.")
    assert redis_url in found["redis"].seen


@pytest.mark.parametrize(
    ("setting", "value", "name", "state", "says"),
    [
        ("appendfsync", "always", "durability", "ok", "even with the host"),
        ("appendfsync", "everysec", "durability", "ok", "last two seconds"),
        ("appendfsync", "no", "durability", "warn", "kernel"),
        ("appendonly", "no", "durability", "fail", "NOT durable"),
        ("maxmemory-policy", "allkeys-lru", "eviction", "fail", "allkeys-lru"),
        ("maxmemory", "0", "memory", "warn", "no limit"),
    ],
)
def test_each_setting_that_matters_is_checked(config, setting, value, name, state, says):
    config(setting, value)
    found = findings()[name]
    assert (found.state, says in found.seen) == (state, True), found
    assert found.mend or state == "ok"


def test_a_nearly_full_server_is_a_warning(config, redis):
    used = redis.info("memory")["used_memory"]
    config("maxmemory", str(int(used * 1.1)))
    assert states()["memory"] == "warn"


def test_the_tenants_that_hold_most_of_the_memory_are_named(config, redis):
    config("maxmemory", "512mb")
    redis.hset("fb:tenants", mapping=dict.fromkeys(("acme", "globex", "odd", "none"), 0))
    redis.mset({"fb:held:acme": 5 << 20, "fb:held:globex": 41 << 20, "fb:held:odd": "x"})
    assert findings()["memory"].seen.endswith("(globex 41 MiB, acme 5 MiB)")


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (doctor.server({"redis_version": "6.2.14"}, "x"), "fail"),
        (doctor.server({"redis_version": "7.0.0"}, "x"), "ok"),
        (doctor.server({"redis_version": "10.1.2"}, "x"), "ok"),
        (doctor.replication({"role": "slave"}), "fail"),
        (doctor.replication({"role": "master", "connected_slaves": 2}), "ok"),
        (doctor.durability({"aof_enabled": 1, "aof_last_write_status": "err"}, "always"), "fail"),
        (doctor.durability({"aof_enabled": 1}, None), "warn"),
        (doctor.clock(0.4), "ok"),
        (doctor.clock(-30.0), "warn"),
    ],
)
def test_states_that_the_test_server_cannot_have_are_checked_too(finding, state):
    assert finding.state == state


def test_a_user_without_config_rights_gets_a_warning(redis, monkeypatch, redis_url):
    redis.execute_command("ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-config")
    address = redis_url.replace("redis://", "redis://app:hunter2@")
    monkeypatch.setenv("FOREBAY_REDIS_URL", address)
    try:
        found = findings()
    finally:
        redis.execute_command("ACL", "DELUSER", "app")
    assert found["durability"].state == "warn"
    assert "CONFIG is not allowed" in found["durability"].seen
    assert not any("hunter2" in finding.seen for finding in found.values())


@pytest.mark.parametrize(
    "url",
    ["redis://:hunter2@127.0.0.1:1/0", "http://:hunter2@127.0.0.1", "hunter2", "redis://[::1"],
)
def test_an_unreachable_redis_is_one_finding_without_its_password(monkeypatch, url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", url)
    found = findings()
    assert {name: finding.state for name, finding in found.items()} == {"redis": "fail"}
    assert "hunter2" not in found["redis"].seen
    assert "FOREBAY_REDIS_URL" in found["redis"].mend


# --- queues ---------------------------------------------------------------------------------------


def test_a_queue_with_jobs_and_no_worker_fails(redis):
    ledger = Ledger(redis, Settings(), bell="")
    assert states()["queue route"] == "warn", "nothing waits yet"
    assert (
        findings()["queue route"].mend == "start a worker: celery -A forebay.workers.router worker"
    )
    assert (
        findings()["queue sweep"].mend == "start a worker: celery -A forebay.workers.sweeper worker"
    )
    redis.hset("fb:depth", "local.big", 3)
    found = findings()["queue local.big"]
    assert (found.state, found.seen) == ("fail", "3 waiting, no worker serves it")
    assert found.mend == "start a worker: FOREBAY_POOL=big celery -A forebay.workers.local worker"
    ledger.serve("local@box", ["local.big"], 10)
    assert findings()["queue local.big"].seen == "3 waiting, served by local@box"
    ledger.serve("local@box", ["local.big"], -1)
    assert states()["queue local.big"] == "fail", "its worker was seen, but is gone"


def test_shards_of_bulks_wait_in_the_queue_of_their_pool(redis):
    ledger = Ledger(redis, Settings(), bell="")
    redis.hset("fb:depth", "local.big:rows", 38)
    assert not [name for name in findings() if "rows" in name]
    found = findings()["queue local.big"]
    assert (found.state, found.seen) == (
        "fail", "0 waiting, 38 shards of bulks, no worker serves it"
    )  # fmt: skip
    ledger.serve("local@box", ["local.big"], 10)
    found = findings()["queue local.big"]
    assert (found.state, found.seen) == (
        "ok", "0 waiting, 38 shards of bulks, served by local@box"
    )  # fmt: skip


def test_a_pool_that_the_policy_names_and_no_worker_serves_is_found_before_a_job_waits(
    redis, monkeypatch, tmp_path
):
    file = tmp_path / "policy.toml"
    file.write_text('[defaults.pools]\nextract = "big"\n[tenants.a.pools]\nclassify = "tiny"\n')
    monkeypatch.setenv("FOREBAY_POLICY_FILE", str(file))
    for pool in ("big", "tiny"):
        found = findings()[f"queue local.{pool}"]
        assert (found.state, found.seen) == ("warn", "0 waiting, no worker serves it")
        assert f"FOREBAY_POOL={pool} celery" in found.mend
    assert "FOREBAY_POOL" not in findings()["queue local.default"].mend


def test_a_fault_of_the_account_is_one_loud_finding(redis):
    assert "bedrock" not in states()
    Spillway(redis).fail("*", "misconfigured", "AWS credentials: have expired")
    found = findings()["bedrock"]
    assert found.state == "fail"
    assert found.seen.endswith("AWS credentials: have expired")
    assert found.mend
    Spillway(redis).recover("any")
    redis.delete("fb:spillway")
    assert "bedrock" not in states()
    Spillway(redis).shut("throttled", 30)
    assert states()["bedrock"] == "warn"


def test_a_fault_of_a_model_names_it(redis):
    Spillway(redis).fail("eu.m", "misconfigured", "AWS credentials: have no permission")
    found = findings()["bedrock"]
    assert (found.state, "eu.m" in found.seen) == ("fail", True)


def test_a_wrong_password_is_not_told_to_start_redis(monkeypatch, redis, redis_url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url.replace("://", "://nobody:hunter2@"))
    [found] = examined([doctor.ledger])
    assert (found.state, "WRONGPASS" in found.seen) == ("fail", True)
    assert "start Redis" not in found.mend
    assert "FOREBAY_REDIS_URL" in found.mend
    assert "hunter2" not in found.seen + found.mend


def test_a_user_that_may_not_look_is_told_who_may(monkeypatch, redis, redis_url):
    redis.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "+ping", "~*")
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url.replace("://", "://weak:pw@"))
    try:
        [found] = examined([doctor.ledger])
    finally:
        redis.execute_command("ACL", "DELUSER", "weak")
    assert (found.state, "NOPERM" in found.seen) == ("fail", True)
    assert found.mend == "set FOREBAY_REDIS_URL to the URL of the user `operator`"


# --- policy, packages, and the command ------------------------------------------------------------


def test_the_policy_file_is_checked(monkeypatch, tmp_path):
    assert [finding.seen for finding in doctor.policy()] == ["no file: the defaults apply"]
    file = tmp_path / "policy.toml"
    monkeypatch.setenv("FOREBAY_POLICY_FILE", str(file))
    (missing,) = examined([doctor.policy])
    file.write_text("[nonsense]\nx = 1\n")
    (wrong,) = examined([doctor.policy])
    assert (missing.state, wrong.state) == ("fail", "fail")
    assert "misconfigured" in missing.seen
    file.write_text("[fleet]\n")
    assert [finding.state for finding in doctor.policy()] == ["ok"]


def test_a_broken_probe_is_a_finding_and_stops_no_other():
    def broken():
        yield Finding("before", "ok", "seen")
        raise ZeroDivisionError("secret")

    def wrong():
        raise Misconfigured("is no number", field="FOREBAY_SLOTS")
        yield

    def fine():
        yield Finding("after", "ok", "seen")

    found = examined([broken, wrong, fine])
    assert [(finding.name, finding.state) for finding in found] == [
        ("before", "ok"), ("broken", "fail"), ("wrong", "fail"), ("after", "ok"),
    ]  # fmt: skip
    assert "secret" not in found[1].seen
    assert "FOREBAY_SLOTS" in found[2].seen


def test_the_exit_code_says_whether_a_check_fails(capsys, monkeypatch, config):
    monkeypatch.setattr("forebay.producers.cli.worker_commands.probes", lambda **_: ())
    config("appendonly", "yes")
    assert cli.run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {check["state"] for check in report["checks"]} <= {"ok", "warn"}
    config("appendonly", "no")
    assert cli.run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "fail  durability           NOT durable" in out
    assert "-> CONFIG SET appendonly yes" in out


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FOREBAY_GATEWAY_MAX_BODY", "8MB", "must be a whole number, without a unit"),
        ("FOREBAY_STATUS_SECRET", "short", "must have at least 24 characters, not 5"),
        ("FOREBAY_TENANT", "A B", "must be lower-case letters, digits, - and _, at most 63"),
        ("FOREBAY_SLOTS", "four", "must be a whole number, without a unit"),
    ],
)
def test_a_wrong_setting_is_reported_once(capsys, monkeypatch, config, variable, value, says):
    config("appendonly", "yes")
    monkeypatch.setenv(variable, value)
    assert cli.run(["doctor", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [each["seen"] for each in checks if each["state"] == "fail"] == [f"{variable}: {says}"]


def test_long_findings_are_folded_on_a_terminal(capfd, monkeypatch):
    seen = ", ".join(f"package{n} 1.{n}" for n in range(20))
    long = Finding("packages", "ok", seen, "mend " * 20)
    monkeypatch.setenv("COLUMNS", "80")
    display.finding(long)
    assert len(capfd.readouterr().out.splitlines()) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    display.finding(long)
    first, *others = re.sub(r"\x1b\[\d*m", "", capfd.readouterr().out).splitlines()
    assert first.startswith("ok    packages             package0 1.0, package1")
    assert 60 < max(map(len, [first, *others])) <= 80
    assert all(re.match(" {27}(?=\\S)| {30}", line) for line in others)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://user:hunter2@host:1/2?ssl_cert=x", "rediss://user:***@host:1/2"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("redis://user:hun@ter2@host", "redis://user:***@host"),
        ("unix:///run/redis.sock?password=hunter2", "unix:///run/redis.sock"),
        ("hunter2", "(no URL)"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown
