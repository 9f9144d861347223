"""`forebay doctor`: against a real server in many states, and against parts that are missing."""

import json
import os
import stat
from types import SimpleNamespace

import pytest

from checkpoint import write_exl2
from forebay.producers.cli import doctor
from forebay.producers.cli import main as cli
from forebay.routing.diagnostics import Finding, examine
from forebay.routing.errors import Misconfigured
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.commands import doctor as checks
from local.fleet import ROOT


@pytest.fixture(autouse=True)
def here(monkeypatch, redis, redis_url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)


@pytest.fixture
def config(redis):
    """The server's settings, put back afterwards."""
    names = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    before = {name: redis.config_get(name)[name] for name in names}
    yield redis.config_set
    for name, value in before.items():
        redis.config_set(name, value)


def findings():
    return {finding.name: finding for finding in examine([doctor.ledger])}


def states():
    return {name: finding.state for name, finding in findings().items()}


# --- Redis ----------------------------------------------------------------------------------------


def test_a_server_as_it_should_be_passes(config, redis_url):
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
def test_each_setting_that_matters_is_seen(config, setting, value, name, state, says):
    config(setting, value)
    found = findings()[name]
    assert (found.state, says in found.seen) == (state, True), found
    assert found.mend or state == "ok"


def test_a_server_that_is_nearly_full_is_warned_of(config, redis):
    used = redis.info("memory")["used_memory"]
    config("maxmemory", str(int(used * 1.1)))
    assert states()["memory"] == "warn"


@pytest.mark.parametrize(
    ("info", "finding"),
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
def test_what_this_server_cannot_be_made_to_show_is_judged(info, finding):
    assert info.state == finding


def test_a_user_who_may_not_see_the_settings_is_told_so(redis, monkeypatch, redis_url):
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
def test_a_redis_that_is_not_there_is_one_finding_without_its_password(monkeypatch, url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", url)
    found = findings()
    assert {name: one.state for name, one in found.items()} == {"redis": "fail"}
    assert "hunter2" not in found["redis"].seen
    assert "FOREBAY_REDIS_URL" in found["redis"].mend


# --- queues ---------------------------------------------------------------------------------------


def test_a_queue_with_jobs_that_nobody_serves_fails(redis):
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
    assert found.mend == "start a worker: celery -A forebay.workers.local worker"
    ledger.serve("local@box", ["local.big"], 10)
    assert findings()["queue local.big"].seen == "3 waiting, served by local@box"
    ledger.serve("local@box", ["local.big"], -1)
    assert states()["queue local.big"] == "fail", "it was heard of, but is gone"


# --- policy, packages, and the command ------------------------------------------------------------


def test_a_policy_file_is_read(monkeypatch, tmp_path):
    assert [one.seen for one in doctor.policy()] == ["no file: the defaults hold"]
    file = tmp_path / "policy.toml"
    monkeypatch.setenv("FOREBAY_POLICY_FILE", str(file))
    (missing,) = examine([doctor.policy])
    file.write_text("[nonsense]\nx = 1\n")
    (wrong,) = examine([doctor.policy])
    assert (missing.state, wrong.state) == ("fail", "fail")
    assert "misconfigured" in missing.seen
    file.write_text("[fleet]\n")
    assert [one.state for one in doctor.policy()] == ["ok"]


def test_a_probe_that_breaks_is_a_finding_and_stops_no_other():
    def broken():
        yield Finding("before", "ok", "seen")
        raise ZeroDivisionError("secret")

    def wrong():
        raise Misconfigured("is no number", field="FOREBAY_SLOTS")
        yield

    def fine():
        yield Finding("after", "ok", "seen")

    found = list(examine([broken, wrong, fine]))
    assert [(one.name, one.state) for one in found] == [
        ("before", "ok"), ("broken", "fail"), ("wrong", "fail"), ("after", "ok"),
    ]  # fmt: skip
    assert "secret" not in found[1].seen
    assert "FOREBAY_SLOTS" in found[2].seen


def test_the_exit_code_says_whether_something_fails(capsys, monkeypatch, config):
    monkeypatch.setattr("forebay.producers.cli.plugins.entry_points", lambda **_: ())
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


def test_checks_that_cannot_be_loaded_are_a_warning(capsys, monkeypatch):
    def load():
        raise ModuleNotFoundError(name="torch")

    entry = SimpleNamespace(name="gpus", load=load)
    monkeypatch.setattr("forebay.producers.cli.plugins.entry_points", lambda **_: [entry])
    cli.run(["doctor", "--json"])
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["checks gpus"]["state"] == "warn"
    assert "torch" in found["checks gpus"]["seen"]


# --- the workers' side ----------------------------------------------------------------------------


def only(probe):
    (finding,) = examine([probe])
    return finding


def test_the_packaged_model_is_found():
    found = only(checks.model)
    assert (found.state, "SmolLM2" in found.seen) == ("ok", True)
    assert "forebay models pull" in found.mend


def test_a_missing_or_wrong_model_file_fails_and_a_right_one_passes(monkeypatch, tmp_path):
    file = tmp_path / "model.gguf"
    monkeypatch.setenv("FOREBAY_MODEL_FILE", str(file))
    missing = only(checks.model)
    assert (missing.state, "FOREBAY_MODEL_FILE" in missing.mend) == ("fail", True)
    file.write_bytes(b"<html>not found</html>")
    assert only(checks.model).state == "fail"
    file.write_bytes(b"GGUF" + bytes(100))
    assert only(checks.model).state == "ok"


def test_an_engine_that_crashes_when_it_is_imported_takes_nothing_along(monkeypatch, tmp_path):
    (tmp_path / "crashes.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = checks.loads("engine", "crashing", "crashes")
    assert (found.state, "signal 4" in found.seen) == ("fail", True)
    assert checks.loads("engine", "absent", "no_such_module").mend == checks.EXTRA


def test_the_real_engine_and_the_real_embedder_load():
    assert only(checks.engine).state == "ok"
    assert only(checks.embedder).state == "ok"


@pytest.mark.parametrize(
    ("script", "state", "seen"),
    [
        (None, "ok", "none (no nvidia-smi): the CPU engine answers"),
        ("echo 'NVIDIA A4000, 16376 MiB, 570.1'", "ok", "NVIDIA A4000, 16376 MiB, 570.1"),
        ("exit 9", "warn", "nvidia-smi shows none"),
    ],
)
def test_a_gpu_is_seen_and_none_is_no_fault(monkeypatch, tmp_path, script, state, seen):
    if script:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(checks.gpu)
    assert (found.state, found.seen) == (state, seen)


def aws(*, online=False):
    (probe,) = [one for one in checks.checks(online=online) if one.__name__ == "aws"]
    return only(probe)


def test_credentials_are_seen_without_being_shown(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = aws()
    assert (found.state, "credentials (env) for us-east-1" in found.seen) == ("ok", True)
    assert "hunter2" not in found.seen + found.mend


def test_no_credentials_is_a_warning_and_no_helper_program_is_run(monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert aws().state == "warn"
    ran = tmp_path / "ran"
    (tmp_path / "config").write_text(f"[default]\ncredential_process = touch {ran}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert aws().state == "warn"
    assert not ran.exists()


def test_a_profile_that_does_not_exist_fails(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    found = aws()
    assert (found.state, "AWS_PROFILE" in found.mend) == ("fail", True)


def test_online_asks_aws_and_says_when_it_cannot(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    found = aws(online=True)
    assert (found.state, "EndpointConnectionError" in found.seen) == ("fail", True)


def test_every_wrong_setting_is_named(monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", "magic")
    for probe in (checks.model, checks.engine):
        found = only(probe)
        assert (found.state, "FOREBAY_ENGINE" in found.seen) == ("fail", True)


def test_of_the_exl2_engine_the_first_thing_missing_is_said(monkeypatch, tmp_path):
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise OSError('libcudart.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    monkeypatch.setenv("FOREBAY_ENGINE", "exl2")
    [found] = checks.engine()
    assert (found.name, found.state) == ("torch", "fail")
    assert found.mend


def test_of_the_exl2_engine_the_folder_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setenv("FOREBAY_ENGINE", "exl2")
    [found] = checks.model()
    assert "FOREBAY_MODEL_DIR: is needed" in found.seen
    folder = write_exl2(tmp_path / "model", (2, 256, 512, 4, 2, 64, 512), 4)
    monkeypatch.setenv("FOREBAY_MODEL_DIR", str(folder))
    [found] = checks.model()
    assert found.state == "ok"
    assert "LlamaForCausalLM, exl2" in found.seen


def test_a_setting_that_nothing_reads_is_pointed_out(monkeypatch):
    monkeypatch.setenv("FOREBAY_LEESE_S", "secret")
    monkeypatch.setenv("FOREBAY_WEATHER", "secret")
    found = list(checks.settings())
    assert [(one.state, one.seen) for one in found] == [
        ("warn", "nothing reads FOREBAY_LEESE_S"),
        ("warn", "nothing reads FOREBAY_WEATHER"),
    ]
    assert "FOREBAY_LEASE_S" in found[0].mend
    monkeypatch.delenv("FOREBAY_LEESE_S")
    monkeypatch.delenv("FOREBAY_WEATHER")
    assert [(one.state, one.seen) for one in checks.settings()] == [("ok", "FOREBAY_REDIS_URL")]


def test_the_second_model_is_looked_at_too(monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", "echo")
    monkeypatch.setenv("FOREBAY_SECOND_ENGINE", "llamacpp")
    monkeypatch.setenv("FOREBAY_SECOND_MODEL_FILE", "/nowhere.gguf")
    models = {one.name: one for one in checks.model()}
    assert models["second model"].state == "fail"
    assert "FOREBAY_SECOND_MODEL_FILE" in models["second model"].seen
    assert [one.name for one in checks.engine()] == ["engine", "second engine"]


def test_a_machine_that_only_submits_lacks_nothing(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    monkeypatch.setattr("forebay.workers.frontier.credentials.find_spec", lambda _: None)
    found = {one.name: one.state for one in examine(checks.checks(online=False))}
    assert found == {"settings": "ok", "local worker": "ok", "aws": "warn"}
    monkeypatch.setenv("FOREBAY_ENGINE", "llamacpp")
    found = {one.name: one.state for one in examine(checks.checks(online=False))}
    assert (found["engine"], found["embedder"]) == ("fail", "fail")
