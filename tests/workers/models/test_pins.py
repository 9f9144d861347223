"""`forebay models list`, `pin` and `verify` over the models of a machine."""

import json
import os
import stat

import pytest
from typer.testing import CliRunner

from checkpoint import write_exl2, write_exl3
from forebay.routing.errors import Misconfigured
from forebay.workers.commands import models
from forebay.workers.engines.weights import digests

SMALL = (2, 64, 128, 4, 2, 16, 100)
WHOLE = (2, 128, 256, 4, 2, 32, 200)
CARD = """---
language: en
license: apache-2.0
---
# A model
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi on any machine
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.fixture
def exl2(root):
    folder = write_exl2(root / "org" / "small-exl2", SMALL, 4.0)
    (folder / "README.md").write_text(CARD)
    return folder


def call(*args):
    return CliRunner().invoke(models.app, [str(arg) for arg in args])


def output(*args):
    return json.loads(call(*args, "--json").stdout)


def row(name, *args):
    (match,) = [entry for entry in output("list", *args) if entry["name"] == name]
    return match


# --- list -----------------------------------------------------------------------------------------


def test_a_local_model_is_listed_with_what_its_files_say(exl2):
    found = row("org/small-exl2", "--vram-mib", 16380)
    size = sum(file.stat().st_size for file in exl2.iterdir())
    assert found == {
        "name": "org/small-exl2", "path": str(exl2), "here": True, "size": size,
        "licence": "apache-2.0", "format": "exl2", "architecture": "LlamaForCausalLM",
        "bits": 4.0, "fits": True, "trouble": None,
    }  # fmt: skip
    header, *_, line = call("list", "--vram-mib", 600).stdout.partition("\n\n")[0].splitlines()
    assert header.split() == ["NAME", "SIZE", "LICENCE", "HERE", "ABOUT"]
    assert header.index("ABOUT") == line.index("exl2, ")
    assert line.endswith("here  exl2, LlamaForCausalLM, 4.00 bits, does not fit")
    assert row("org/small-exl2")["fits"] is None  # unknown without a card


def test_a_model_that_no_engine_runs_is_listed_with_the_reason(root):
    strange = write_exl2(root / "strange", SMALL, 4.0, architectures=["Strange4ForCausalLM"])
    assert "no architecture that exllamav2 knows" in row("strange")["trouble"]
    (strange / "config.json").write_text("{")
    assert row("strange")["trouble"].startswith(f"{strange / 'config.json'}: is damaged")
    assert row("strange")["format"] is None


def test_an_exl3_model_is_listed_with_its_plan(root):
    write_exl3(root / "exl3", WHOLE, 4)
    found = row("exl3", "--vram-mib", 16380)
    assert (found["format"], found["fits"], found["trouble"]) == ("exl3", True, None)
    assert found["bits"] == pytest.approx(4.0, rel=0.1)
    assert row("exl3", "--vram-mib", 1000)["fits"] is False
    call("pin", "exl3")
    pin = json.loads((root.parent / "models.lock").read_text())["models"]["exl3"]
    assert (pin["format"], pin["bits"]) == ("exl3", found["bits"])


def test_a_gguf_file_is_listed_and_not_planned(root):
    root.mkdir(parents=True)
    (root / "other.gguf").write_bytes(b"GGUF")
    found = row("other.gguf", "--vram-mib", 16380)
    assert (found["format"], found["size"], found["fits"]) == ("gguf", 4, None)


def test_a_hidden_folder_is_no_model(root):
    write_exl2(root / ".small.part", SMALL, 4.0)
    assert {one["name"] for one in output("list")} == {
        one["name"]
        for one in output("list")
        if "good_for" in one  # not of this machine
    }


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": CARD}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: qwen\n---\n"}, "qwen"),
        ({"README.md": "license: mit in the text only"}, None),
        ({"LICENSE": "MIT License\n\nCopyright"}, "mit"),
        ({"LICENSE.txt": "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT"}, "llama"),
        ({"LICENSE": "Ask us."}, None),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": "Apache License"}, "mit"),
        ({}, None),
    ],
)
def test_a_licence_is_read_from_the_card_or_its_own_file(root, files, licence):
    folder = write_exl2(root / "one", SMALL, 4.0)
    for name, text in files.items():
        (folder / name).write_text(text)
    assert row("one")["licence"] == licence


# --- pin and verify -------------------------------------------------------------------------------


def test_a_pinned_model_verifies_until_a_byte_changes(exl2, tmp_path):
    digest = digests.folder_digest(exl2)
    result = call("pin", "org/small-exl2")
    assert (result.exit_code, result.stdout) == (0, f"{digest[:12]}  org/small-exl2\n")
    lock = json.loads((tmp_path / "models.lock").read_text())
    pin = lock["models"]["org/small-exl2"]
    assert (pin["digest"], pin["format"], pin["licence"]) == (digest, "exl2", "apache-2.0")
    assert set(pin["files"]) == {"README.md", "config.json", "output.safetensors"}
    assert call("verify").stdout == "ok    org/small-exl2\n"

    weights = exl2 / "output.safetensors"
    before = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = call("verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("BAD   org/small-exl2\n        output.safetensors differs: ")
    assert output("verify")["ok"] is False


def test_a_pin_is_of_the_bytes_as_they_are_now(exl2):
    """The cached digest of the same size and time is not used."""
    digests.folder_digest(exl2)
    card = exl2 / "README.md"
    before = card.stat()
    card.write_text(CARD.replace("apache", "apAche"))
    os.utime(card, ns=(before.st_atime_ns, before.st_mtime_ns))
    pinned = output("pin")["pinned"]["org/small-exl2"]
    assert pinned == digests.folder_digest(exl2, fresh=True)
    assert call("verify").exit_code == 0


@pytest.mark.parametrize("write", [write_exl2, write_exl3])
def test_a_folder_without_a_pin_is_not_verified_until_it_has_one(root, write):
    folder = write(root / "org" / "one", WHOLE, 4)
    (folder / "README.md").write_text(CARD)
    result = call("verify")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"NOT VERIFIED  {folder}\n")
    assert "forebay models pin org/one" in result.stdout
    found = output("verify")
    assert (found["ok"], list(found["unverified"])) == (False, [str(folder)])
    call("pin", "org/one")
    assert call("verify").stdout == "ok    org/one\n"
    for file in ("config.json", "README.md"):
        path = folder / file
        before = path.read_text()
        path.write_text(before + " ")
        assert f"{file} differs" in call("verify").stdout
        path.write_text(before)
    assert call("verify").exit_code == 0


def test_weights_that_no_command_reads_are_not_verified(root, exl2):
    call("pin")
    (root / "half").mkdir()
    weights = (exl2 / "output.safetensors").read_bytes()
    (root / "half" / "output.safetensors").write_bytes(weights)
    (root / "output.safetensors").write_bytes(weights)
    (exl2 / "inside").mkdir()
    (exl2 / "inside" / "other.safetensors").write_bytes(weights)
    (root / ".one.part").mkdir()
    (root / ".one.part" / "other.safetensors").write_bytes(weights)
    result = call("verify")
    assert result.exit_code == 1
    unverified = output("verify")["unverified"]
    assert list(unverified) == [str(root), str(root / "half")]
    assert "config.json" in unverified[str(root / "half")]


def test_the_model_of_a_worker_outside_of_the_folder_is_not_verified(root, tmp_path, monkeypatch):
    elsewhere = write_exl2(tmp_path / "elsewhere", SMALL, 4.0)
    assert output("verify")["ok"]
    monkeypatch.setenv("FOREBAY_SECOND_MODEL_DIR", str(elsewhere))
    assert list(output("verify")["unverified"]) == [str(elsewhere)]
    assert call("verify").exit_code == 1


def test_new_and_missing_files_are_named(exl2):
    call("pin")
    (exl2 / "README.md").rename(exl2 / "README.txt")
    assert output("verify")["models"] == {
        "org/small-exl2": [
            "README.md is missing", "README.txt is here and was not when it was pinned",
        ]
    }  # fmt: skip


def test_a_pinned_model_that_is_not_here_is_reported(exl2, tmp_path):
    call("pin")
    exl2.rename(tmp_path / "other")
    result = call("verify")
    assert (result.exit_code, result.stdout) == (
        1, "BAD   org/small-exl2\n        is not here\n",
    )  # fmt: skip


def test_a_pin_is_renewed_and_the_others_stay(exl2, root, tmp_path):
    (root / "a.gguf").write_bytes(b"GGUF one")
    assert set(output("pin")["pinned"]) == {"a.gguf", "org/small-exl2"}
    old = digests.digest(root / "a.gguf")
    (root / "a.gguf").write_bytes(b"GGUF two")
    assert call("verify").exit_code == 1
    assert call("pin", "a.gguf").stdout.endswith(f"  a.gguf (was {old[:12]})\n")
    assert call("verify").exit_code == 0
    assert set(json.loads((tmp_path / "models.lock").read_text())["models"]) == {
        "a.gguf", "org/small-exl2",
    }  # fmt: skip


def test_a_lock_can_have_another_path_and_is_readable_by_all(exl2, tmp_path):
    lock = tmp_path / "there.lock"
    call("pin", "--lock", lock)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644
    assert not (tmp_path / "models.lock").exists()
    assert call("verify", "--lock", lock).exit_code == 0
    assert isinstance(call("verify", "--lock", tmp_path / "no.lock").exception, Misconfigured)


def test_a_lock_that_cannot_be_written_leaves_nothing_behind(exl2, tmp_path):
    (tmp_path / "dir").mkdir()
    error = call("pin", "--lock", tmp_path / "dir").exception
    assert isinstance(error, Misconfigured)
    error = call("pin", "--lock", tmp_path / "no" / "models.lock").exception
    assert error.field == str(tmp_path / "no" / "models.lock")
    assert not list((tmp_path / "dir").iterdir())
    assert not [file for file in tmp_path.iterdir() if file.name.startswith("tmp")]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"version": 2}', '{"models": {"a": {}}}',
        '{"models": {"a": {"digest": "ff", "files": {}}}}', '{"more": 1}',
    ],
)  # fmt: skip
def test_a_damaged_lock_is_named(exl2, tmp_path, text):
    (tmp_path / "models.lock").write_text(text)
    for command in ("verify", "pin"):
        error = call(command).exception
        assert isinstance(error, Misconfigured)
        assert error.field == "models.lock"


def test_a_damaged_or_unknown_model_is_not_pinned(exl2, root, tmp_path):
    with (exl2 / "output.safetensors").open("r+b") as file:
        file.truncate(5000)
    assert "cut off" in str(call("pin").exception)
    assert call("pin", "no-such").exception.field == "NAME"
    assert not (tmp_path / "models.lock").exists()


def test_without_a_model_nothing_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "none"))
    lock = tmp_path / "models.lock"
    error = call("pin", "--lock", lock).exception
    assert isinstance(error, Misconfigured)
    assert not lock.exists()
