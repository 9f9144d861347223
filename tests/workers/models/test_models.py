"""`forebay models` against a hub of our own: real HTTP with ranges, redirects, cuts, refusals."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from typer.testing import CliRunner

from forebay.routing.errors import ForebayError, Misconfigured, Unavailable
from forebay.workers.commands import models
from forebay.workers.models import catalogue, pull
from modelhub import CHUNK_BYTES, COMMIT, ModelHub, sha256

ROOT = Path(__file__).parents[3]
WEIGHTS = b"GGUF" + bytes(range(256)) * 8192  # 2 MiB and a bit
DIGEST = sha256(WEIGHTS)
REPO = "owner/repo-GGUF"
NAME = f"hf:{REPO}/q4/model.gguf@{COMMIT}"
FILE_URL = f"/{REPO}/resolve/{COMMIT}/q4/model.gguf"


@pytest.fixture
def hub():
    with ModelHub(REPO, {"q4/model.gguf": WEIGHTS}, large={"q4/model.gguf"}).running() as server:
        yield server


@pytest.fixture(autouse=True)
def here(hub_is_asked):
    pass


@pytest.fixture
def target():
    return catalogue.folder() / REPO / "q4/model.gguf"


def run_pull(*args, name=NAME, digest=DIGEST):
    return CliRunner().invoke(models.app, ["pull", name, "--sha256", digest, "--yes", *args])


def refused(result) -> ForebayError:
    assert isinstance(result.exception, ForebayError), result.output
    return result.exception


# --- downloading ----------------------------------------------------------------------------------


def test_a_model_is_downloaded_through_the_hubs_redirect_and_its_setting_printed(hub, target):
    result = run_pull()
    assert result.exit_code == 0, result.output
    assert result.stdout == f"FOREBAY_MODEL_FILE={target}\n"
    assert result.stderr == ""
    assert target.read_bytes() == WEIGHTS
    assert hub.calls() == [f"HEAD {FILE_URL}", f"GET {FILE_URL}", "GET /store/q4/model.gguf"]
    assert sorted(file.name for file in target.parent.iterdir()) == [
        "model.gguf", "model.gguf.sha256",
    ]  # fmt: skip
    done = subprocess.run(["sha256sum", "-c", "model.gguf.sha256"], cwd=target.parent, check=False)
    assert done.returncode == 0


def test_a_model_that_is_here_and_right_is_not_downloaded_again(hub, target):
    run_pull()
    before = len(hub.requests)
    assert json.loads(run_pull("--json").stdout)["here"] is True
    assert len(hub.requests) == before
    target.write_bytes(b"GGUF damaged")
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


def test_a_cut_connection_is_taken_up_where_it_broke(hub, target):
    hub.cut_after = 14 * CHUNK_BYTES
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert hub.starts() == [0, 14 * CHUNK_BYTES, 28 * CHUNK_BYTES]


def test_what_a_failed_run_left_is_taken_up_by_the_next(hub, target):
    hub.cut_after = 0
    target.parent.mkdir(parents=True)
    part = target.with_name(f".{DIGEST}.part")
    part.write_bytes(WEIGHTS[:1_500_000])
    error = refused(run_pull())
    assert isinstance(error, Unavailable)
    assert "the same command goes on after the 1 MiB" in error.message
    assert not target.exists()
    hub.cut_after = None
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert set(hub.starts()) == {1_500_000}
    assert not part.exists()


def test_ctrl_c_leaves_a_partial_file_that_the_next_run_resumes(hub, target):
    hub.delay_s = 0.05
    part = target.with_name(f".{DIGEST}.part")
    script = (
        f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {CHUNK_BYTES}\n"
        "from forebay.workers.commands.models import app; app()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "pull", NAME, "--sha256", DIGEST, "--yes"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
    ) as process:  # fmt: skip
        while not (part.exists() and part.stat().st_size > CHUNK_BYTES):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    assert not target.exists()
    before = part.stat().st_size
    hub.delay_s = 0.0
    hub.requests.clear()
    assert run_pull().exit_code == 0
    assert hub.starts() == [before]
    assert target.read_bytes() == WEIGHTS


def test_a_part_that_was_whole_already_only_gets_its_name(hub, target):
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(WEIGHTS)
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert hub.starts() == []


def test_a_part_that_is_too_long_starts_over(hub, target):
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(WEIGHTS + b"more")
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert hub.starts() == [0]


def test_a_server_that_cannot_resume_starts_over(hub, target):
    hub.fault = "no ranges"
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(b"x" * 1_000_000)
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


def test_another_digest_is_refused_before_anything_is_downloaded(hub, target):
    wrong = "0" * 64
    error = refused(run_pull(digest=wrong))
    assert (error.field, DIGEST in error.message, wrong in error.message) == ("sha256", True, True)
    assert hub.starts() == []
    assert not target.exists()


def test_another_digest_leaves_neither_file_nor_part_if_the_hub_tells_none(hub, target):
    hub.fault = "no digest"
    wrong = "0" * 64
    error = refused(run_pull(digest=wrong))
    assert (error.field, DIGEST in error.message, wrong in error.message) == ("sha256", True, True)
    assert hub.starts() == [0]
    assert not list(target.parent.iterdir())


def test_a_damaged_part_is_noticed_and_the_next_run_succeeds(target):
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(b"x" * 1_000_000)
    assert isinstance(refused(run_pull()), Unavailable)
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        ("404", Misconfigured, "the hub has no owner/repo-GGUF/q4/model.gguf at 0123456789ab"),
        ("401", Misconfigured, "set HF_TOKEN to a token that may read it"),
        ("403", Misconfigured, "set HF_TOKEN to a token that may read it"),
        ("429", Unavailable, "the hub answered 429"),
        ("500", Unavailable, "the hub answered 500"),
        ("503", Unavailable, "the hub answered 503"),
    ],
)
def test_a_refusal_of_the_hub_is_reported(hub, target, status, kind, message):
    hub.fault = status
    error = refused(run_pull())
    assert (type(error), message in error.message) == (kind, True), error.message
    assert not target.exists()


@pytest.mark.parametrize("token", [None, "of-somebody-else"])
def test_a_gated_model_asks_for_the_licence_and_a_token(monkeypatch, hub, target, token):
    hub.fault, hub.token = "gated", "secret"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    error = refused(run_pull())
    assert (type(error), error.field) == (Misconfigured, "HF_TOKEN")
    assert f"accept it at https://huggingface.co/{REPO}" in error.message
    assert "set HF_TOKEN" in error.message
    assert not target.exists()


def test_a_gated_model_is_downloaded_with_a_token_that_the_store_never_sees(
    monkeypatch, hub, target
):
    hub.fault, hub.token = "gated", "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run_pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    tokens = {path: headers.get("authorization") for _, path, headers in hub.requests}
    assert tokens == {FILE_URL: "Bearer secret", "/store/q4/model.gguf": None}


def test_the_hub_is_told_of_no_other_library(hub):
    run_pull()
    agents = {headers["user-agent"] for _, _, headers in hub.requests}
    assert agents == {"forebay"}


def test_a_hub_that_is_not_there_is_unavailable(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    error = refused(run_pull())
    assert (type(error), "ConnectError" in error.message) == (Unavailable, True)


def test_offline_mode_is_named(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused(run_pull()).field == "HF_HUB_OFFLINE"


def test_without_the_library_the_extra_is_named():
    script = """
import sys
sys.modules["huggingface_hub"] = None
from typer.testing import CliRunner
from forebay.workers.commands import models
print(CliRunner().invoke(models.app, sys.argv[1:]).exception)
print(CliRunner().invoke(models.app, ["verify"]).exit_code)
"""
    command = [sys.executable, "-c", script, "pull", NAME, "--sha256", DIGEST, "--yes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "huggingface_hub: is not installed: install the extra `models`", "0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "endpoint", ["file:///etc", "ftp://127.0.0.1", "huggingface.co", "https://"]
)
def test_an_endpoint_is_http(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert refused(run_pull()).field == "HF_ENDPOINT"


def test_a_proxy_is_honoured(monkeypatch, hub):
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.url)
    close_session()
    assert run_pull().exit_code == 0  # the test's hub ignores the host of an address
    assert hub.requests[0][2]["Host"] == "hub.invalid"


def test_a_disk_that_is_too_small_is_reported_before_the_download(monkeypatch, hub, target):
    monkeypatch.setattr(pull, "DISK_RESERVE_BYTES", 1 << 60)
    error = refused(run_pull())
    assert (error.field, "2 MiB are missing" in error.message) == (str(target.parent), True)
    assert target.with_name(f".{DIGEST}.part").stat().st_size == 0
    assert hub.starts() == []


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "file"))
    error = refused(run_pull())
    assert (type(error), str(tmp_path) in str(error.field)) == (Misconfigured, True)


def test_two_downloads_of_one_file_do_not_run_at_once(target):
    target.parent.mkdir(parents=True)
    with target.with_name(f".{DIGEST}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "already" in refused(run_pull()).message


def test_another_size_than_in_the_catalogue_is_refused(target):
    model = catalogue.Model(
        "short", REPO, "q4/model.gguf", COMMIT, DIGEST, size=17, licence="MIT"
    )  # fmt: skip
    with pytest.raises(Misconfigured, match=f"{len(WEIGHTS)} bytes"):
        pull.pull_file(model)
    assert not target.exists()


# --- names and consent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "digest", "field"),
    [
        ("no-such-model", None, "NAME"),
        ("owner/repo@main/../..", None, "NAME"),
        ("owner/repo@..", None, "NAME"),
        ("../repo", None, "NAME"),
        ("owner/repo", DIGEST, "NAME"),
        ("hf:owner/repo/model.gguf", DIGEST, "NAME"),
        ("hf:owner/repo/model.gguf@main", DIGEST, "NAME"),
        (f"hf:owner/repo/../../model.gguf@{COMMIT}", DIGEST, "NAME"),
        (f"hf:owner/repo//etc/passwd@{COMMIT}", DIGEST, "NAME"),
        (f"hf:../repo/model.gguf@{COMMIT}", DIGEST, "NAME"),
        (f"hf:owner/repo/model.gguf@{COMMIT}", None, "--sha256"),
        (f"hf:owner/repo/model.gguf@{COMMIT}", "abc", "--sha256"),
        ("qwen2.5-1.5b", DIGEST, "--sha256"),
    ],
)
def test_a_name_that_pins_nothing_is_refused(name, digest, field):
    with pytest.raises(Misconfigured) as caught:
        catalogue.find(name, digest)
    assert caught.value.field == field


def test_a_digest_in_capitals_is_the_same_digest():
    assert catalogue.find(NAME, DIGEST.upper()).sha256 == DIGEST


def test_a_licence_that_nobody_can_accept_is_shown_and_refused(hub):
    result = CliRunner().invoke(models.app, ["pull", "qwen2.5-1.5b"])
    assert refused(result).field == "--yes"
    assert "Licence: Apache-2.0" in result.stderr
    assert not hub.requests


@pytest.mark.parametrize(("key", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_a_terminal_shows_the_licence_to_accept_and_a_bar(target, key, code):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    script = "from forebay.workers.commands.models import app; app()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "pull", NAME, "--sha256", DIGEST],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        assert b"Licence: see https://huggingface.co/owner/repo-GGUF" in shown
        os.write(ours, key)
        shown = drain(ours)
        assert process.wait(timeout=30) == code
    assert target.exists() is (code == 0)
    assert (b"model.gguf: 100%" in shown) is (code == 0)
    assert (b"2.10M/2.10M" in shown) is (code == 0)


def drain(terminal):
    seen = b""
    try:
        while block := os.read(terminal, 4096):
            seen += block
    except OSError:  # the process has ended
        pass
    os.close(terminal)
    return seen


# --- checking -------------------------------------------------------------------------------------


def test_verify_finds_a_damaged_model(target):
    run_pull()
    runner = CliRunner()
    assert runner.invoke(models.app, ["verify"]).stdout == f"ok    {target}\n"
    with target.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"!")
    result = runner.invoke(models.app, ["verify", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "ok": False, "files": {str(target): False}, "models": {}, "unverified": {},
    }  # fmt: skip


def test_a_model_without_a_digest_fails_verification(target):
    target.parent.mkdir(parents=True)
    target.write_bytes(WEIGHTS)
    assert CliRunner().invoke(models.app, ["verify"]).exit_code == 1


def test_verify_of_nothing_is_fine():
    result = CliRunner().invoke(models.app, ["verify"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no models in" in result.stderr


def test_path_is_the_folder_or_the_file_of_a_model_that_is_here():
    runner = CliRunner()
    assert runner.invoke(models.app, ["path"]).stdout.strip() == str(catalogue.folder())
    assert "forebay models pull" in refused(runner.invoke(models.app, ["path", "qwen3-4b"])).message
    file = catalogue.find("qwen3-4b").path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF")
    out = runner.invoke(models.app, ["path", "qwen3-4b", "--json"]).stdout
    assert json.loads(out) == {"path": str(file)}


def test_models_are_kept_in_the_users_data_without_a_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("FOREBAY_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalogue.folder() == tmp_path / ".local/share/forebay/models"


def test_every_entry_of_the_catalogue_is_pinned_and_free():
    entries = catalogue.catalogue()
    assert len({entry.name for entry in entries}) == len(entries) >= 4
    for entry in entries:
        name = f"hf:{entry.repo}/{entry.file}@{entry.revision}"
        assert catalogue.find(name, entry.sha256).file == entry.file
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.licence in {"Apache-2.0", "MIT"}
        assert entry.size
        assert entry.size > 100_000_000
        assert entry.path == catalogue.folder() / entry.repo / entry.file


def test_the_list_says_what_is_here():
    file = catalogue.find("qwen2.5-0.5b").path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF")
    done = CliRunner().invoke(models.app, ["list"])
    catalogued, deciding = done.stdout.split("\n\n")
    _, *lines = catalogued.splitlines()
    assert "forebay models pull NAME" in done.stderr
    assert len(lines) == len(catalogue.catalogue())
    assert [line.split()[0] for line in lines if " here " in line] == ["qwen2.5-0.5b"]
    _, *named = deciding.splitlines()
    assert [line.split()[0] for line in named] == [
        model.name for model in catalogue.decision_models()
    ]
    assert all(model.licence in deciding for model in catalogue.decision_models())
    rows = json.loads(CliRunner().invoke(models.app, ["list", "--json"]).stdout)
    assert [row["name"] for row in rows if row.get("decides")] == [
        line.split()[0] for line in named
    ]
