"""`forebay models pull OWNER/REPO[@REVISION]`: whole model folders, from a hub of our own."""

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
from typer.testing import CliRunner

from checkpoint import write_exl2
from forebay.routing.errors import ForebayError, Misconfigured, Unavailable
from forebay.workers.commands import models
from forebay.workers.models import catalogue, pull
from modelhub import CHUNK_BYTES, COMMIT, ModelHub, sha256

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
REPO = "owner/small-exl2"
LARGE = {"output-00001.safetensors", "output-00002.safetensors"}
SMALL = (2, 64, 128, 4, 2, 16, 100)


@pytest.fixture
def files(tmp_path):
    """A real EXL2 checkpoint in two files, among files that no engine reads."""
    folder = write_exl2(tmp_path / "source", SMALL, 4.0)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    files["output-00001.safetensors"] = files.pop("output.safetensors")
    size = 1 << 20
    head = json.dumps({"more": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    extra = len(head).to_bytes(8, "little") + head.encode() + bytes(range(256)) * (size // 256)
    return files | {
        "output-00002.safetensors": extra, "README.md": b"---\nlicense: mit\n---\n",
        "pytorch_model.bin": b"pickle", ".gitattributes": b"*", "original/params.json": b"{}",
        "model.py": b"import os",
    }  # fmt: skip


@pytest.fixture
def hub(files):
    with ModelHub(REPO, files, large=LARGE, licence="mit").running() as server:
        server.branches["4.0bpw"] = COMMIT
        yield server


@pytest.fixture(autouse=True)
def here(hub_is_asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # models.lock


@pytest.fixture
def target():
    return catalogue.folder() / REPO


def run(*args):
    return CliRunner().invoke(models.app, list(args))


def run_pull(*args, name=REPO):
    return run("pull", name, "--yes", *args)


def refused(result) -> ForebayError:
    assert isinstance(result.exception, ForebayError), result.output
    return result.exception


def wanted(files):
    names = {"config.json", "README.md", *LARGE}
    return {name: body for name, body in files.items() if name in names}


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".sha256"}


# --- downloading ----------------------------------------------------------------------------------


def test_a_folder_is_downloaded_at_its_commit_without_what_no_engine_reads(hub, files, target):
    result = run_pull()
    assert result.exit_code == 0, result.output
    assert result.stdout == f"FOREBAY_MODEL_DIR={target}\n"
    assert result.stderr == ""
    assert contents(target) == wanted(files)
    assert hub.calls() == [
        f"GET /api/models/{REPO}/revision/main",
        f"GET /api/models/{REPO}/tree/{COMMIT}",
        f"GET /{REPO}/resolve/{COMMIT}/README.md",
        f"GET /{REPO}/resolve/{COMMIT}/config.json",
        f"GET /{REPO}/resolve/{COMMIT}/output-00001.safetensors",
        "GET /store/output-00001.safetensors",
        f"GET /{REPO}/resolve/{COMMIT}/output-00002.safetensors",
        "GET /store/output-00002.safetensors",
    ]
    done = subprocess.run(["sha256sum", "-c", ".sha256"], cwd=target, check=False)
    assert done.returncode == 0
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("revision", ["4.0bpw", COMMIT])
def test_a_revision_has_a_folder_of_its_own(revision, files, target):
    out = json.loads(run_pull("--json", name=f"{REPO}@{revision}").stdout)
    place = target.with_name(f"small-exl2@{revision}")
    assert out == {
        "name": f"{REPO}@{revision}", "repo": REPO, "revision": COMMIT, "here": True,
        "size": sum(map(len, wanted(files).values())), "licence": "mit", "path": str(place),
        "setting": f"FOREBAY_MODEL_DIR={place}",
    }  # fmt: skip
    assert contents(place) == wanted(files)
    assert run("path", f"{REPO}@{revision}").stdout == f"{place}\n"
    assert not target.exists()


def test_a_folder_that_is_here_and_right_is_not_downloaded_again(hub):
    run_pull()
    hub.requests.clear()
    assert run_pull().exit_code == 0
    assert not [call for call in hub.calls() if "/resolve/" in call]


def test_a_folder_that_differs_is_left_alone_and_named(hub, target):
    run_pull()
    (target / "config.json").write_text("{}")
    error = refused(run_pull())
    assert (type(error), error.field) == (Misconfigured, str(target))
    assert "(config.json); delete the folder to download it again" in error.message
    assert (target / "config.json").read_text() == "{}"


def test_a_cut_connection_is_taken_up_where_it_broke(hub, files, target):
    hub.cut_after = 10 * CHUNK_BYTES
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)
    assert hub.downloads()[-2:] == [
        ("/store/output-00002.safetensors", 0),
        ("/store/output-00002.safetensors", 10 * CHUNK_BYTES),
    ]


def test_a_failed_download_is_no_model_and_goes_on_with_what_is_missing(hub, files, target):
    hub.cut_after = 0
    assert isinstance(refused(run_pull()), Unavailable)
    assert not target.exists()
    assert not [row for row in json.loads(run("list", "--json").stdout) if "good_for" not in row]
    hub.cut_after = None
    hub.requests.clear()
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)
    assert f"GET /{REPO}/resolve/{COMMIT}/config.json" not in hub.calls()


def test_ctrl_c_leaves_a_hidden_folder_that_the_next_run_resumes(hub, files, target):
    hub.delay_s = 0.05
    digest = sha256(files["output-00002.safetensors"])
    part = target.with_name(".small-exl2.part") / f".{digest}.part"
    script = (
        f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {CHUNK_BYTES}\n"
        "from forebay.workers.commands.models import app; app()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "pull", REPO, "--yes"],
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
    assert hub.downloads() == [("/store/output-00002.safetensors", before)]
    assert contents(target) == wanted(files)


def test_files_of_an_earlier_commit_do_not_stay_in_the_folder(files, target):
    part = target.with_name(".small-exl2.part")
    part.mkdir(parents=True)
    (part / "config.json").write_text("of an earlier commit")
    (part / "old.safetensors").write_text("of an earlier commit")
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)


@pytest.mark.parametrize("name", ["config.json", "output-00001.safetensors"])
def test_a_file_with_another_digest_is_deleted_and_the_next_run_succeeds(
    monkeypatch, hub, files, target, name
):
    tree = hub.files
    lying = type("Lying", (dict,), {"get": lambda self, key: b"{}" if key == name else self[key]})
    if name == "config.json":
        hub.files = lying(tree)  # `resolve` asks with `get`, the listing does not
    else:
        part = target.with_name(".small-exl2.part")
        part.mkdir(parents=True)
        (part / f".{sha256(files[name])}.part").write_bytes(b"x" * 100)
    error = refused(run_pull())
    assert isinstance(error, Unavailable), error
    assert not target.exists()
    hub.files = tree
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        ("404", Misconfigured, "the hub has no owner/small-exl2 at main"),
        ("401", Misconfigured, "set HF_TOKEN to a token that may read it"),
        ("403", Misconfigured, "set HF_TOKEN to a token that may read it"),
        ("500", Unavailable, "the hub answered 500"),
    ],
)
def test_a_refusal_of_the_hub_is_reported(hub, target, status, kind, message):
    hub.fault = status
    error = refused(run_pull())
    assert (type(error), message in error.message) == (kind, True), error.message
    assert not target.exists()


def test_a_gated_model_asks_for_the_licence_and_a_token(monkeypatch, hub, files, target):
    hub.fault, hub.token = "gated", "secret"
    error = refused(run_pull())
    assert (type(error), error.field) == (Misconfigured, "HF_TOKEN")
    assert f"accept it at https://huggingface.co/{REPO}" in error.message
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)


def test_a_listing_without_digests_is_refused_and_writes_nothing(hub, target):
    hub.fault = "no digest"
    assert "something else than digests" in refused(run_pull()).message
    assert not target.parent.exists()


def test_the_hub_is_told_of_no_other_library(hub):
    run_pull()
    agents = {headers["user-agent"] for _, _, headers in hub.requests}
    ours = re.compile(r"forebay(/\S+; hf_hub/\S+; python/\S+)?")
    assert all(ours.fullmatch(agent) for agent in agents), agents


@pytest.mark.parametrize("name", ["owner/other", f"{REPO}@5.0bpw"])
def test_a_repository_or_revision_that_is_not_there_is_named(name):
    assert f"the hub has no {name.replace('@', ' at ')}" in refused(run_pull(name=name)).message


def test_a_branch_without_weights_is_named(hub, target):
    hub.files = {"README.md": b"see the branches", "measurement.json": b"{}"}
    error = refused(run_pull())
    assert error.field == "NAME"
    assert f"name the branch that does, {REPO}@BRANCH" in error.message
    assert not target.exists()


def test_a_disk_that_is_too_small_is_reported_before_the_download(monkeypatch, hub):
    monkeypatch.setattr(pull, "DISK_RESERVE_BYTES", 1 << 60)
    assert "MiB are missing" in refused(run_pull()).message
    assert not [call for call in hub.calls() if "/resolve/" in call]


def test_two_downloads_of_one_folder_do_not_run_at_once(target):
    part = target.with_name(".small-exl2.part")
    part.mkdir(parents=True)
    with (part / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "already" in refused(run_pull()).message


# --- digests --------------------------------------------------------------------------------------


def test_verify_reads_the_downloaded_folder_again(target):
    run_pull()
    assert run("verify").stdout == f"ok    {target}\n"
    with (target / "output-00002.safetensors").open("r+b") as file:
        file.write(b"!")
    result = run("verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "ok": False, "files": {str(target): False}, "models": {}, "unverified": {},
    }  # fmt: skip


def test_a_pinned_folder_is_downloaded_under_its_pin(files, target):
    run_pull()
    run("pin", REPO)
    target.rename(target.with_name("moved"))
    assert run_pull().exit_code == 0
    assert contents(target) == wanted(files)


@pytest.mark.parametrize("name", ["output-00001.safetensors", "config.json"])
def test_a_pin_with_another_digest_is_not_downloaded(tmp_path, target, name):
    run_pull()
    run("pin", REPO)
    target.rename(target.with_name("moved"))
    lock = tmp_path / "models.lock"
    pins = json.loads(lock.read_text())
    pins["models"][REPO]["files"][name] = "0" * 64
    lock.write_text(json.dumps(pins))
    assert isinstance(refused(run_pull()), (Misconfigured, Unavailable))
    assert not target.exists()
    del pins["models"][REPO]["files"][name]
    lock.write_text(json.dumps(pins))
    error = refused(run_pull())
    assert (error.field, name in error.message) == ("models.lock", True)
    assert not target.exists()


# --- consent --------------------------------------------------------------------------------------


def test_the_licence_and_the_size_are_shown_first(hub, target):
    result = run("pull", REPO)
    assert refused(result).field == "--yes"
    assert result.stderr == f"{REPO} at {COMMIT[:12]}, 0.0 GB. Licence: mit\n"
    assert not target.exists()


@pytest.mark.parametrize(("option", "shown"), [((), True), (("--json",), False)])
def test_a_bar_is_shown_on_a_terminal_and_not_with_json(option, shown):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    script = "from forebay.workers.commands.models import app; app()"
    command = [sys.executable, "-c", script, "pull", REPO, "--yes", *option]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 4096):
                seen += block
        except OSError:  # the process has ended
            pass
        os.close(ours)
        assert process.wait(timeout=30) == 0
    assert (b"output-00002.safetensors: 100%" in seen) is shown
    assert bool(seen) is shown
