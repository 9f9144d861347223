"""`forebay models`, against a hub of our own: real HTTP with ranges, redirects, cuts, refusals."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.routing.errors import ForebayError, Misconfigured, Unavailable
from forebay.workers.commands import models
from forebay.workers.models import catalogue, hub

ROOT = Path(__file__).parents[3]
WEIGHTS = b"GGUF" + bytes(range(256)) * 8192  # 2 MiB and a bit
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf:owner/repo-GGUF/q4/model.gguf@{COMMIT}"


class Hub(ThreadingHTTPServer):
    """Answers as the hub does: a redirect to a store that knows ranges. `mood` makes it worse."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Shelf)
        self.mood = ""
        self.cut_after = len(WEIGHTS)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def starts(self):
        """At which byte each request to the store began."""
        ranges = [asked for path, asked in self.asked if path.startswith("/store/")]
        return [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for asked in ranges]


class Shelf(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub_ = self.server
        asked = self.headers.get("Range")
        hub_.asked.append((self.path, asked))
        if hub_.mood.isdecimal():
            return self.reply(int(hub_.mood), b"<html>sorry</html>")
        if self.path == f"/owner/repo-GGUF/resolve/{COMMIT}/q4/model.gguf":
            return self.reply(302, b"", Location=f"{hub_.url}/store/{DIGEST}")
        if self.path != f"/store/{DIGEST}":
            return self.reply(404, b"Entry not found")
        return self.give(int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0)

    def give(self, start):
        hub_ = self.server
        size = len(WEIGHTS)
        if hub_.mood == "no ranges":
            start = 0
        if start >= size:
            return self.reply(416, b"", **{"Content-Range": f"bytes */{size}"})
        body = WEIGHTS[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has no room for it goes away
            self.wfile.write(body[: hub_.cut_after])
        if hub_.cut_after < len(body):
            self.close_connection = True
        return None

    def reply(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def shelf():
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path, shelf):
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_ENDPOINT", shelf.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(hub, "PAUSE_S", 0.0)


@pytest.fixture
def target():
    return catalogue.folder() / "owner/repo-GGUF/q4/model.gguf"


def pull(*args, name=NAME, digest=DIGEST):
    return CliRunner().invoke(models.app, ["pull", name, "--sha256", digest, "--yes", *args])


def refused(result) -> ForebayError:
    assert isinstance(result.exception, ForebayError), result.output
    return result.exception


# --- fetching -------------------------------------------------------------------------------------


def test_a_model_is_fetched_through_the_hubs_redirect_and_its_setting_printed(shelf, target):
    result = pull()
    assert result.exit_code == 0, result.output
    assert result.stdout == f"FOREBAY_MODEL_FILE={target}\n"
    assert target.read_bytes() == WEIGHTS
    assert [path for path, _ in shelf.asked] == [
        f"/owner/repo-GGUF/resolve/{COMMIT}/q4/model.gguf",
        f"/store/{DIGEST}",
    ]
    assert sorted(file.name for file in target.parent.iterdir()) == [
        "model.gguf", "model.gguf.sha256",
    ]  # fmt: skip
    done = subprocess.run(["sha256sum", "-c", "model.gguf.sha256"], cwd=target.parent, check=False)
    assert done.returncode == 0


def test_what_is_here_and_right_is_not_fetched_again(shelf, target):
    pull()
    before = len(shelf.asked)
    assert json.loads(pull("--json").stdout)["here"] is True
    assert len(shelf.asked) == before
    target.write_bytes(b"GGUF damaged")
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


def test_a_cut_connection_is_taken_up_where_it_broke(shelf, target):
    shelf.cut_after = 900_000
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert shelf.starts() == [0, 900_000, 1_800_000]


def test_what_a_failed_run_left_is_taken_up_by_the_next(shelf, target):
    shelf.cut_after = 0
    target.parent.mkdir(parents=True)
    part = target.with_name(f".{DIGEST}.part")
    part.write_bytes(WEIGHTS[:1_500_000])
    error = refused(pull())
    assert isinstance(error, Unavailable)
    assert "the same command goes on after the 1 MiB" in error.message
    assert not target.exists()
    shelf.cut_after = len(WEIGHTS)
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert set(shelf.starts()) == {1_500_000}
    assert not part.exists()


def test_a_part_that_was_whole_already_only_gets_its_name(shelf, target):
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(WEIGHTS)
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS
    assert shelf.starts() == [len(WEIGHTS)]


def test_a_server_that_cannot_resume_starts_over(shelf, target):
    shelf.mood = "no ranges"
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(b"x" * 1_000_000)
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


def test_another_digest_leaves_neither_file_nor_part(target):
    wrong = "0" * 64
    error = refused(pull(digest=wrong))
    assert (error.field, DIGEST in error.message, wrong in error.message) == ("sha256", True, True)
    assert not list(target.parent.iterdir())


def test_a_damaged_part_is_found_out_and_the_next_run_succeeds(target):
    target.parent.mkdir(parents=True)
    target.with_name(f".{DIGEST}.part").write_bytes(b"x" * 1_000_000)
    assert isinstance(refused(pull()), Unavailable)
    assert pull().exit_code == 0
    assert target.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("mood", "kind", "says"),
    [
        ("404", Misconfigured, "the hub has no owner/repo-GGUF/q4/model.gguf at 0123456789ab"),
        ("401", Misconfigured, "wants a login"),
        ("403", Misconfigured, "wants a login"),
        ("429", Unavailable, "the hub answered 429"),
        ("503", Unavailable, "the hub answered 503"),
    ],
)
def test_what_the_hub_refuses_is_said(shelf, target, mood, kind, says):
    shelf.mood = mood
    error = refused(pull())
    assert (type(error), says in error.message) == (kind, True), error.message
    assert not target.exists()


def test_a_hub_that_is_not_there_is_unavailable(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    error = refused(pull())
    assert (type(error), "ConnectionRefusedError" in error.message) == (Unavailable, True)


@pytest.mark.parametrize(
    "endpoint", ["file:///etc", "ftp://127.0.0.1", "huggingface.co", "https://"]
)
def test_an_endpoint_is_http(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert refused(pull()).field == "HF_ENDPOINT"


def test_a_proxy_is_honoured(monkeypatch, shelf):
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", shelf.url)
    refused(pull())  # the shelf is no proxy; only the request counts
    assert shelf.asked[0][0].startswith("http://hub.invalid/owner/repo-GGUF/resolve/")


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(monkeypatch, target):
    monkeypatch.setattr(hub, "SPARE", 1 << 60)
    error = refused(pull())
    assert (error.field, "2 MiB are missing" in error.message) == (str(target.parent), True)
    assert target.with_name(f".{DIGEST}.part").stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOREBAY_MODELS", str(tmp_path / "file"))
    error = refused(pull())
    assert (type(error), str(tmp_path) in str(error.field)) == (Misconfigured, True)


def test_two_downloads_of_one_file_do_not_meet(target):
    target.parent.mkdir(parents=True)
    with target.with_name(f".{DIGEST}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "already" in refused(pull()).message


def test_a_size_that_the_catalogue_does_not_know_is_refused(shelf, target):
    pinned = hub.Pinned("owner/repo-GGUF", "q4/model.gguf", COMMIT, DIGEST, size=17)
    with pytest.raises(Misconfigured, match=f"{len(WEIGHTS)} bytes"):
        hub.fetch(pinned, target)
    assert not target.exists()


# --- names and consent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "digest", "field"),
    [
        ("no-such-model", None, "NAME"),
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


def test_the_licence_is_shown_and_nobody_is_there_to_accept_it(shelf):
    result = CliRunner().invoke(models.app, ["pull", "qwen2.5-1.5b"])
    assert refused(result).field == "--yes"
    assert "Licence: Apache-2.0" in result.stderr
    assert not shelf.asked


@pytest.mark.parametrize(("key", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_the_licence_is_asked_for_and_a_bar_shown(target, key, code):
    ours, theirs = pty.openpty()
    script = "from forebay.workers.commands.models import app; app()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "pull", NAME, "--sha256", DIGEST],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
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
    assert (b"2.1/2.1 MB" in shown) is (code == 0)


def drain(terminal):
    seen = b""
    try:
        while block := os.read(terminal, 4096):
            seen += block
    except OSError:  # the other side has gone
        pass
    os.close(terminal)
    return seen


# --- looking --------------------------------------------------------------------------------------


def test_verify_finds_the_one_that_was_damaged(target):
    pull()
    runner = CliRunner()
    assert runner.invoke(models.app, ["verify"]).stdout == f"ok    {target}\n"
    with target.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"!")
    result = runner.invoke(models.app, ["verify", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"ok": False, "files": {str(target): False}, "models": {}}


def test_a_model_without_a_digest_is_not_taken_for_right(target):
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


def test_models_are_kept_in_the_users_data_unless_told_otherwise(monkeypatch, tmp_path):
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
        assert entry.pinned().url().endswith(f"/resolve/{entry.revision}/{entry.file}")


def test_the_list_says_what_is_here():
    file = catalogue.find("qwen2.5-0.5b").path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF")
    lines = CliRunner().invoke(models.app, ["list"]).stdout.splitlines()
    assert len(lines) == len(catalogue.catalogue())
    assert [line.split()[0] for line in lines if " here " in line] == ["qwen2.5-0.5b"]
