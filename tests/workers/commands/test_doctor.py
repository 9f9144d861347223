"""The checks of the workers' side: model, engine, GPU, AWS credentials, settings."""

import os
import stat

import pytest

from checkpoint import write_exl2
from forebay.workers.commands import doctor
from local.fleet import ROOT
from patience import examined


@pytest.fixture(autouse=True)
def _no_fleet(monkeypatch):
    """Keep the checks from asking a fleet that happens to run on this machine; give them time."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(doctor, "ANSWER_S", 60)


def only(probe):
    """Return the single finding of a probe."""
    (finding,) = examined([probe])
    return finding


def test_the_packaged_model_is_found():
    found = only(doctor.model)
    assert (found.state, "SmolLM2" in found.seen) == ("ok", True)
    assert "forebay models pull" in found.mend


def test_a_missing_or_wrong_model_file_fails_and_a_right_one_passes(monkeypatch, tmp_path):
    file = tmp_path / "model.gguf"
    monkeypatch.setenv("FOREBAY_MODEL_FILE", str(file))
    missing = only(doctor.model)
    assert (missing.state, "FOREBAY_MODEL_FILE" in missing.mend) == ("fail", True)
    file.write_bytes(b"<html>not found</html>")
    assert only(doctor.model).state == "fail"
    file.write_bytes(b"GGUF" + bytes(100))
    assert only(doctor.model).state == "ok"


def test_an_engine_that_crashes_on_import_does_not_crash_the_doctor(monkeypatch, tmp_path):
    (tmp_path / "crashes.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor.import_finding("engine", "crashing", "crashes")
    assert (found.state, "signal 4" in found.seen) == ("fail", True)
    assert doctor.import_finding("engine", "absent", "no_such_module").mend == doctor.INSTALL_CPU


def test_the_real_engine_and_the_real_embedder_load():
    assert only(doctor.engine).state == "ok"
    assert only(doctor.embedder).state == "ok"


@pytest.mark.parametrize(
    ("script", "state", "seen"),
    [
        (None, "ok", "none (no nvidia-smi): the CPU engine answers"),
        ("echo 'NVIDIA A4000, 16376 MiB, 570.1'", "ok", "NVIDIA A4000, 16376 MiB, 570.1"),
        ("exit 9", "warn", "nvidia-smi lists no GPU"),
    ],
)
def test_a_gpu_is_reported_and_a_missing_one_is_fine(monkeypatch, tmp_path, script, state, seen):
    if script:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(doctor.gpu)
    assert (found.state, found.seen) == (state, seen)


def aws(*, online=False):
    (probe,) = [each for each in doctor.checks(online=online) if each.__name__ == "aws"]
    return only(probe)


def test_credentials_are_found_and_not_shown(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = aws()
    assert (found.state, "credentials (env) for us-east-1" in found.seen) == ("ok", True)
    assert "hunter2" not in found.seen + found.mend


def test_missing_credentials_are_a_warning_and_no_helper_program_is_run(monkeypatch, tmp_path):
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


def test_online_asks_aws_and_fails_if_it_does_not_answer(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    found = aws(online=True)
    assert (found.state, "EndpointConnectionError" in found.seen) == ("fail", True)


def test_a_wrong_setting_is_named(monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", "magic")
    for probe in (doctor.model, doctor.engine):
        found = only(probe)
        assert (found.state, "FOREBAY_ENGINE" in found.seen) == ("fail", True)


def test_the_first_thing_that_the_exl2_engine_lacks_is_reported(monkeypatch, tmp_path):
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise OSError('libcudart.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    monkeypatch.setenv("FOREBAY_ENGINE", "exl2")
    [found] = doctor.engine()
    assert (found.name, found.state) == ("torch", "fail")
    assert found.mend


def test_the_model_folder_of_the_exl2_engine_is_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("FOREBAY_ENGINE", "exl2")
    [found] = doctor.model()
    assert "FOREBAY_MODEL_DIR: is needed" in found.seen
    folder = write_exl2(tmp_path / "model", (2, 256, 512, 4, 2, 64, 512), 4)
    monkeypatch.setenv("FOREBAY_MODEL_DIR", str(folder))
    [found] = doctor.model()
    assert found.state == "ok"
    assert "LlamaForCausalLM, exl2" in found.seen


def test_a_setting_that_nothing_reads_is_a_warning(monkeypatch):
    monkeypatch.setenv("FOREBAY_REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("FOREBAY_LEESE_S", "secret")
    monkeypatch.setenv("FOREBAY_WEATHER", "secret")
    found = list(doctor.settings())
    assert [(finding.state, finding.seen) for finding in found] == [
        ("warn", "nothing reads FOREBAY_LEESE_S"),
        ("warn", "nothing reads FOREBAY_WEATHER"),
    ]
    assert "FOREBAY_LEASE_S" in found[0].mend
    monkeypatch.delenv("FOREBAY_LEESE_S")
    monkeypatch.delenv("FOREBAY_WEATHER")
    assert [(each.state, each.seen) for each in doctor.settings()] == [("ok", "FOREBAY_REDIS_URL")]


def test_the_second_model_is_checked_too(monkeypatch):
    monkeypatch.setenv("FOREBAY_ENGINE", "echo")
    monkeypatch.setenv("FOREBAY_SECOND_ENGINE", "llamacpp")
    monkeypatch.setenv("FOREBAY_SECOND_MODEL_FILE", "/nowhere.gguf")
    models = {finding.name: finding for finding in doctor.model()}
    assert models["second model"].state == "fail"
    assert "FOREBAY_SECOND_MODEL_FILE" in models["second model"].seen
    assert [finding.name for finding in doctor.engine()] == ["engine", "second engine"]


def test_a_machine_that_only_submits_needs_no_engine(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    monkeypatch.setattr("forebay.workers.frontier.bedrock.checkup.find_spec", lambda _: None)
    found = {finding.name: finding.state for finding in examined(doctor.checks(online=False))}
    assert found == {"settings": "ok", "local worker": "ok", "prices": "ok", "aws": "warn"}
    monkeypatch.setenv("FOREBAY_ENGINE", "llamacpp")
    found = {finding.name: finding.state for finding in examined(doctor.checks(online=False))}
    assert (found["engine"], found["embedder"]) == ("fail", "fail")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOREBAY_ROUTER_MODEL", "gpt"),
        ("FOREBAY_POOL", "Big Pool"),
        ("FOREBAY_LEASE_S", "soon"),
        ("FOREBAY_BEDROCK_CONCURRENCY", "0"),
        ("FOREBAY_SECOND_ENGINE", "magic"),
    ],
)
def test_a_value_that_a_setting_may_not_have_fails_once_by_its_name(monkeypatch, name, value):
    assert list(doctor.values()) == []
    monkeypatch.setenv(name, value)
    found = list(doctor.values())
    assert {finding.state for finding in found} == {"fail"}
    assert [finding.seen.partition(":")[0] for finding in found] == [name]
    assert found[0].mend


def test_a_second_engine_without_a_model_of_its_own_fails(monkeypatch):
    monkeypatch.setenv("FOREBAY_SECOND_ENGINE", "llamacpp")
    found = [finding for finding in examined([doctor.model]) if finding.state == "fail"]
    assert [finding.name for finding in found] == ["second engine"]
    assert "FOREBAY_SECOND_MODEL_FILE" in found[0].mend


def test_a_second_engine_that_needs_a_folder_and_has_none_is_told_which_setting_to_set(monkeypatch):
    monkeypatch.setenv("FOREBAY_SECOND_ENGINE", "exl2")
    [found] = [finding for finding in examined([doctor.model]) if finding.state == "fail"]
    assert found.name == "second model"
    assert "set FOREBAY_SECOND_MODEL_DIR" in found.mend


def test_settings_of_a_second_engine_that_is_not_named_fail(monkeypatch, tmp_path):
    monkeypatch.setenv("FOREBAY_SECOND_MODEL_FILE", str(tmp_path / "model.gguf"))
    found = [finding for finding in examined([doctor.model]) if finding.state == "fail"]
    assert len(found) == 1
    assert "FOREBAY_SECOND_MODEL_FILE" in found[0].seen
    assert "FOREBAY_SECOND_ENGINE" in found[0].mend


def test_a_model_file_that_is_not_there_is_named_with_its_path(monkeypatch):
    monkeypatch.setenv("FOREBAY_MODEL_FILE", "/nope.gguf")
    assert only(doctor.model).seen.startswith("FOREBAY_MODEL_FILE: /nope.gguf cannot be read")


def test_a_heartbeat_file_that_cannot_be_written_fails(monkeypatch, tmp_path):
    assert list(doctor.heartbeat()) == []
    for file, state in (
        (tmp_path / "beat", "ok"), (tmp_path / "nope" / "beat", "fail"), (tmp_path, "fail"),
    ):  # fmt: skip
        monkeypatch.setenv("FOREBAY_HEARTBEAT_FILE", str(file))
        found = only(doctor.heartbeat)
        assert (found.state, str(file) in found.seen) == (state, True)
    assert "FOREBAY_HEARTBEAT_FILE" in found.mend
