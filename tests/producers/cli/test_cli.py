"""The command line: what it takes, what it prints where, its exit codes, and no traceback ever."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from forebay.producers.cli import display, plugins
from forebay.producers.cli import main as cli
from forebay.routing.base import KINDS
from forebay.routing.jobs import Answer, Receipt, Summary, new_id
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.connection import without_password

SECRET = "the-canary-in-the-job"
DEAD = "redis://127.0.0.1:1/0"
ROOT = Path(__file__).parents[3]
CLASSIFY = ["classify", "--text", "My card was charged twice", "--label", "billing", "--label", "x"]


@pytest.fixture(autouse=True)
def here(monkeypatch, redis, redis_url):
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), bell="")


@pytest.fixture
def forebay(capsys, monkeypatch):
    """One command line in this process: exit code, stdout, stderr."""

    def call(*args, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.run(list(args))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def argv(*args):
    return [sys.executable, "-m", "forebay.producers.cli.main", *args]


def shell(*args, stdin=b"", **env):
    """One command line as a user's shell runs it."""
    done = subprocess.run(
        argv(*args), input=stdin, capture_output=True, timeout=60, check=False, cwd=ROOT,
        env=os.environ | env,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def answered(ledger, job_id, text="Short.", **how):
    """Be the worker of that job."""
    claim = None
    for _ in range(400):
        claim = claim or ledger.claim("route")
        if claim:
            break
        time.sleep(0.05)
    assert claim is not None
    assert job_id in {None, claim.id}
    receipt = Receipt(
        id=claim.id, kind=claim.record.kind, egress=claim.record.egress, status="done",
        lane="local", reasons=("confident",), model="tiny", revision="abc", **how,
    )  # fmt: skip
    content = Summary(text=text)
    ledger.settle(claim, Answer(**receipt.model_dump(), content=content))
    return claim.id


# --- submitting -----------------------------------------------------------------------------------


def test_a_classify_job_of_options_is_the_job_that_a_file_would_hold(forebay, ledger):
    code, out, err = forebay(
        "submit", *CLASSIFY, "--egress", "allow", "--priority", "bulk", "--deadline", "5m",
        "--max-cost", "0", "--cache", "--meta", "ticket=42", "--meta", "a=b=c", "--tenant", "acme",
    )  # fmt: skip
    assert (code, err) == (0, "")
    claim = ledger.claim("route")
    job = claim.job()
    assert out == f"{job.id}\n"
    assert job.tenant == "acme"
    assert (job.egress, job.priority, job.max_cost_usd, job.cache) == ("allow", "bulk", 0.0, True)
    assert job.metadata == {"ticket": "42", "a": "b=c"}
    assert [label.name for label in job.request.options] == ["billing", "x"]
    assert 295 < job.deadline.timestamp() - time.time() < 301


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["summarize", "--text", "long", "--max-words", "9", "--focus", "money"], "summarize"),
        (["generate", "--system", "Be brief.", "--text", "Hello", "--max-tokens", "7"], "generate"),
        (["embed", "--text", "one", "--text", "two"], "embed"),
        (["extract", "--file", "-", "--schema", "SCHEMA"], "extract"),
    ],
)
def test_each_kind_can_be_typed(forebay, ledger, tmp_path, args, kind):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"total": {"type": "number"}}}')
    args = [str(schema) if arg == "SCHEMA" else arg for arg in args]
    code, _, _ = forebay("submit", *args, stdin="Rechnung über 12 €".encode())
    assert code == 0
    request = ledger.claim("route").job().request
    assert request.kind == kind
    shown = request.model_dump(by_alias=True)
    typed = {
        "summarize": {"text": "long", "max_words": 9, "focus": "money"},
        "generate": {"max_tokens": 7},
        "embed": {"texts": ("one", "two")},
        "extract": {"text": "Rechnung über 12 €"},
    }[kind]
    assert typed.items() <= shown.items()
    if kind == "generate":
        assert [turn["role"] for turn in shown["messages"]] == ["system", "user"]


@pytest.mark.parametrize("source", ["file", "stdin", "nothing"])
def test_a_request_or_a_whole_job_comes_from_a_file_or_stdin(forebay, ledger, tmp_path, source):
    data = json.dumps({"kind": "summarize", "text": "from a file"}).encode()
    (tmp_path / "job.json").write_bytes(data)
    what = {"file": [str(tmp_path / "job.json")], "stdin": ["-"], "nothing": []}[source]
    code, _, _ = forebay("submit", *what, stdin=data)
    assert code == 0
    assert ledger.claim("route").job().request.text == "from a file"


def test_what_is_typed_goes_before_what_the_file_says(forebay, ledger, monkeypatch):
    monkeypatch.setenv("FOREBAY_TENANT", "environment")
    whole = {"tenant": "file", "egress": "deny", "request": {"kind": "summarize", "text": "t"}}
    assert forebay("submit", "--egress", "allow", stdin=json.dumps(whole).encode())[0] == 0
    job = ledger.claim("route").job()
    assert (job.tenant, job.egress) == ("file", "allow")
    assert forebay("submit", stdin=json.dumps(whole["request"]).encode())[0] == 0
    assert ledger.claim("route").job().tenant == "environment"


def test_a_repeated_key_prints_the_first_id_and_other_content_under_it_is_refused(forebay):
    first = forebay("submit", "summarize", "--text", "a", "--key", "k1")
    assert forebay("submit", "summarize", "--text", "a", "--key", "k1") == first
    code, out, err = forebay("submit", "summarize", "--text", "b", "--key", "k1")
    assert (code, out) == (2, "")
    assert err.startswith("forebay: invalid_job: idempotency_key: ")


# --- bad input ------------------------------------------------------------------------------------

LABELS = ["--label", "a", "--label", "b"]
JOB = {"kind": "summarize", "text": SECRET}


@pytest.mark.parametrize(
    ("args", "stdin", "code", "field"),
    [
        ([], b"", "invalid_job", "FILE"),
        ([], b"{", "invalid_job", "FILE"),
        ([], b"[1, 2]", "invalid_job", "FILE"),
        ([], b"{}\n{}\n", "invalid_job", "FILE"),
        ([], b"[" * 200_000, "invalid_job", "FILE"),
        ([], bytes(range(256)) * 64, "invalid_job", "FILE"),
        ([], b"\x00" * 100, "invalid_job", "FILE"),
        ([], b'{"kind": "translate", "text": "%s"}' % SECRET.encode(), "invalid_job", "kind"),
        ([], b'{"text": "%s"}' % SECRET.encode(), "invalid_job", "kind"),
        ([], b'{"kind": "summarize", "text": "\\ud800"}', "invalid_job", "text"),
        ([], b'{"kind": "summarize", "text": "t", "colour": 1}', "invalid_job", "colour"),
        ([], b'{"kind": "summarize", "text": "t", "%s": 1}' % SECRET.encode(), "invalid_job", ""),
        ([], json.dumps({**JOB, "text": "x" * 500_001}).encode(), "too_long", "text"),
        ([], json.dumps({"request": JOB, "lane": "bedrock"}).encode(), "egress_denied", "egress"),
        ([], json.dumps({"request": JOB, "egress": "maybe"}).encode(), "invalid_job", "egress"),
        (["nowhere.json"], b"", "invalid_job", "SOURCE"),
        (["x" * 5_000], b"", "invalid_job", "FILE"),
        (["generate", "--system", SECRET], b"", "invalid_job", "text"),
        (["."], b"", "invalid_job", "FILE"),
        (["clasify", "--text", SECRET, *LABELS], b"", "invalid_job", "SOURCE"),
        (["pyproject.toml", "--text", SECRET], b"", "invalid_job", "text"),
        (["classify", "--text", SECRET], b"", "invalid_job", "labels"),
        (["classify", *LABELS], b"", "invalid_job", "text"),
        (["classify", "--text", "t", "--label", "a", "--label", "A "], b"", "invalid_job",
         "labels"),
        (["classify", "--text", "t", "--label", "a", "--label", " "], b"", "invalid_job", "labels"),
        (["classify", "--text=t", "--label=a", "--label="], b"", "invalid_job", "labels.1.name"),
        (["summarize", "--text", SECRET, "--text", SECRET], b"", "invalid_job", "text"),
        (["summarize", "--text", SECRET, "--label", SECRET], b"", "invalid_job", "labels"),
        (["summarize", "--file", "nowhere.txt"], b"", "invalid_job", "file"),
        (["summarize", "--text", "t", "--max-words", "0"], b"", "invalid_job", "max_words"),
        (["summarize", "--text", "t", "--deadline", "soon"], b"", "invalid_job", "deadline"),
        (["summarize", "--text", "t", "--deadline", "2030-01-01T00:00"], b"", "invalid_job",
         "deadline"),
        (["summarize", "--text", "t", "--deadline", "999999999d"], b"", "invalid_job", "deadline"),
        (["summarize", "--text", "t", "--meta", SECRET], b"", "invalid_job", "metadata"),
        (["summarize", "--text", "t", "--tenant", "No Tenant"], b"", "invalid_job", "tenant"),
        (["summarize", "--text", "t", "--max-cost", "nan"], b"", "invalid_job", "max_cost_usd"),
        (["extract", "--text", "t"], b"", "invalid_job", "schema"),
        (["extract", "--text", "t", "--schema", "-"], b'{"type": 7}', "invalid_job", "schema"),
        (["extract", "--text", "t", "--schema", "-"], b"junk", "invalid_job", "schema"),
        (["extract", "--text", "t", "--schema", "nowhere"], b"", "invalid_job", "schema"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_field(forebay, redis, args, stdin, code, field):
    exit_code, out, err = forebay("submit", *args, stdin=stdin)
    assert (exit_code, out) == (2, "")
    named = rf"(\S+\.)?{re.escape(field)}(\.\d+)?: " if field else ""
    assert re.fullmatch(rf"forebay: {code}: {named}.+\n", err), err
    assert SECRET not in err
    assert not re.search("Input|Field|Value|Tuple|after validation", err), "pydantic's words"
    assert redis.dbsize() == 0, "something of a refused job was stored"
    exit_code, out, err = forebay("submit", *args, "--json", stdin=stdin)
    error = json.loads(out)["error"]
    assert (exit_code, err, error["code"]) == (2, "", code)
    assert SECRET not in out


@pytest.mark.parametrize(
    "args",
    [["--nonsense"], ["nonsense"], ["submit", "--timeout", "x"], ["status"], ["status", "a", "b"]],
)
def test_a_usage_mistake_ends_with_two_and_the_usage_line(forebay, args):
    code, out, err = forebay(*args)
    assert (code, out) == (2, "")
    assert "Usage: forebay" in err
    code, out, err = forebay(*args, "--json")
    assert (code, err, json.loads(out)["error"]["code"]) == (2, "", "usage")


@pytest.mark.parametrize("command", ["result", "status", "cancel", "forget"])
def test_a_job_that_is_not_there_is_the_callers_mistake(forebay, command):
    for job_id in ("junk", "", "Not An Id.", new_id("default")):
        code, out, err = forebay(command, "--json", "--", job_id)
        if command == "forget" and job_id.startswith("default."):
            assert json.loads(out) == {"id": job_id, "forgotten": False}
        else:
            assert (code, json.loads(out)["error"]["code"], err) == (2, "unknown_job", "")


def test_a_job_of_another_tenant_is_unknown(forebay):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t", "--tenant", "acme")
    assert forebay("status", job_id.strip())[0] == 0
    assert forebay("status", job_id.strip(), "--tenant", "other")[0] == 2


# --- looking after jobs ---------------------------------------------------------------------------


def test_an_answer_is_on_stdout_and_how_it_was_made_on_stderr(forebay, ledger):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    answered(ledger, job_id.strip(), tokens_in=12, cost_nusd=1_500)
    code, out, err = forebay("result", job_id.strip())
    assert (code, out) == (0, "Short.\n")
    assert err == (
        "forebay: local (confident) · tiny abc · 12 tokens in, 0 out · $0.000002 · 0.0 s\n"
    )
    code, out, err = forebay("result", job_id.strip(), "--json")
    assert (code, err) == (0, "")
    assert Answer.model_validate_json(out).content.text == "Short."


def test_a_job_that_has_not_ended_is_not_waited_for_unless_asked(forebay):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    began = time.monotonic()
    code, out, err = forebay("result", job_id.strip())
    assert time.monotonic() - began < 5
    assert (code, out) == (1, "")
    assert "forebay: timeout: not ended yet: no worker serves route, 1 waiting" in err
    code, out, _ = forebay("result", job_id.strip(), "--timeout", "0.3", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "timeout")


def test_status_says_who_is_before_it_and_whether_anybody_serves(forebay, ledger):
    forebay("submit", "summarize", "--text", "t")
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    assert "no worker serves route, 2 waiting" in forebay("status", job_id.strip())[1]
    ledger.serve("router@here", ["route"], 10)
    assert "waiting for route, 2 of 2" in forebay("status", job_id.strip())[1]
    _, out, _ = forebay("status", job_id.strip(), "--json")
    assert json.loads(out)["position"] == 1


def test_a_cancelled_job_ends_as_cancelled_and_can_be_forgotten(forebay, redis):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    job_id = job_id.strip()
    assert forebay("cancel", job_id)[:2] == (0, "cancelled\n")
    assert forebay("cancel", job_id, "--json")[1] == f'{{"id": "{job_id}", "cancelled": false}}\n'
    code, out, err = forebay("result", job_id, "--wait")
    assert (code, out) == (1, "")
    assert err.startswith("forebay: cancelled: ")
    assert forebay("forget", job_id)[:2] == (0, "forgotten\n")
    assert not redis.keys(f"*{job_id}*")


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_the_contract(forebay, kind):
    code, out, _ = forebay("schema")
    assert code == 0
    assert kind in json.dumps(json.loads(out)["$defs"])


def test_a_model_cannot_send_control_characters_to_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    display.text("a\x1b]0;owned\x07b\x9b31m\n\tc\u202e")
    assert capfd.readouterr().out == "a]0;ownedb31m\n\tc\n"


# --- as a user's shell runs it --------------------------------------------------------------------


def test_submit_waits_and_prints_the_answer(ledger):
    command = argv("submit", "summarize", "--text", "t", "--wait")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as waiting:
        job_id = answered(ledger, None, text="Ünïcode.")
        out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (0, "Ünïcode.\n")
    assert err.splitlines()[0] == f"forebay: job {job_id}"


def test_a_terminal_sees_a_live_line_and_that_nobody_serves_the_queue(ledger):
    ours, theirs = pty.openpty()
    command = argv("submit", "summarize", "--text", "t", "--timeout", "30", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    ) as waiting:  # fmt: skip
        os.close(theirs)
        seen = b""
        while b"no worker serves route" not in seen:
            seen += os.read(ours, 4096)
        answered(ledger, None)
        out = waiting.stdout.read()
        waiting.wait(timeout=30)
    os.close(ours)
    assert waiting.returncode == 0
    assert json.loads(out)["content"]["text"] == "Short."


def test_without_a_terminal_there_is_one_warning_and_no_progress():
    code, out, err = shell("submit", "summarize", "--text", "t", "--timeout", "1.5")
    lines = err.splitlines()
    assert (code, out) == (1, "")
    assert lines[0].startswith("forebay: job default.")
    assert lines[1] == "forebay: no worker serves route"
    assert lines[2].startswith("forebay: timeout: not ended yet")
    assert len(lines) == 3


def test_ctrl_c_while_waiting_ends_with_130_and_the_job_goes_on(ledger):
    command = argv("submit", "summarize", "--text", "t", "--wait", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as waiting:
        first = waiting.stderr.readline()
        warned = waiting.stderr.readline()  # it is in its loop now
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, json.loads(out)["error"]["code"]) == (130, "interrupted")
    assert "no worker serves route" in warned
    assert "Traceback" not in err
    assert ledger.claim("route").id == first.split()[-1]


@pytest.mark.parametrize(
    ("url", "exit_code", "code"),
    [
        (DEAD, 1, "unavailable"),
        ("redis://no-such-host.invalid:6379/0", 1, "unavailable"),
        ("http://127.0.0.1:1", 2, "misconfigured"),
        ("junk", 2, "misconfigured"),
        ("redis://user:hunter2@127.0.0.1:1/0", 1, "unavailable"),
    ],
)
def test_a_dead_redis_or_a_wrong_address_is_one_clear_error(
    forebay, monkeypatch, url, exit_code, code
):
    monkeypatch.setenv("FOREBAY_REDIS_URL", url)
    done = forebay("submit", *CLASSIFY, "--json")
    assert (done[0], json.loads(done[1])["error"]["code"]) == (exit_code, code)
    assert "hunter2" not in done[1] + done[2]


def test_a_dead_redis_is_one_line_in_a_shell():
    code, out, err = shell("submit", *CLASSIFY, FOREBAY_REDIS_URL=DEAD)
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"forebay: unavailable: Redis cannot be reached .+`forebay doctor`.+\n", err
    )


def test_a_wrong_setting_is_named(forebay, monkeypatch):
    monkeypatch.setenv("FOREBAY_LEASE_S", "soon")
    code, _, err = forebay("submit", *CLASSIFY)
    assert code == 2
    assert err.startswith("forebay: misconfigured: FOREBAY_LEASE_S: ")


def test_binary_junk_on_stdin_is_one_line():
    assert shell("submit", stdin=os.urandom(100_000))[::2] == (
        2,
        "forebay: invalid_job: FILE: is not UTF-8 text\n",
    )


def test_an_error_nobody_foresaw_shows_where_and_not_what(monkeypatch, capsys, forebay):
    def breaks(*_args):
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr("forebay.producers.client.Client.status", breaks)
    code, _, err = forebay("status", new_id("default"))
    assert code == 1
    assert re.match(r"forebay: internal: ZeroDivisionError at cli/test_cli.py:\d+; ", err)
    assert SECRET not in err
    assert "FOREBAY_DEBUG=1" in err
    monkeypatch.setenv("FOREBAY_DEBUG", "1")
    assert cli.run(["status", new_id("default")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error_message():
    command = f'"{sys.executable}" -m forebay.producers.cli.main schema | head -c 10'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, cwd=ROOT, timeout=60
    )
    assert (len(done.stdout), done.stderr) == (10, b"")


def test_help_needs_neither_celery_nor_redis_nor_pydantic():
    script = "import sys; from forebay.producers.cli.main import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert {"typer", "forebay.producers.cli.main"} <= loaded
    assert not {"celery", "redis", "pydantic", "rich", "boto3"} & loaded


def test_every_command_has_help_that_fits_its_line_and_takes_json(forebay):
    left, seen = [()], set()
    while left:
        command = left.pop()
        code, text, _ = forebay(*command, "--help")
        assert (code, f"Usage: {' '.join(('forebay', *command))}" in text) == (0, True)
        under = re.findall(r"^  ([a-z-]+)  +(\S.*)", text.partition("Commands:")[2], re.MULTILINE)
        assert [said for _, said in under if said.endswith("...")] == [], "cut short"
        assert under or "--json" in text, command
        left += [(*command, name) for name, _ in under]
        seen |= {" ".join((*command, name)) for name, _ in under}
    assert {"submit", "result", "dead replay", "models pull", "router eval", "gpu build"} <= seen


# --- commands of other packages -------------------------------------------------------------------


def package(folder, groups):
    """What an installed package leaves behind for `importlib.metadata`."""
    info = folder / "plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(groups)


def test_a_package_that_cannot_be_loaded_breaks_no_other_command(forebay, monkeypatch, tmp_path):
    package(tmp_path, "[forebay.commands]\nbroken = no_such_module.at_all:app\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert forebay("version")[0] == 0
    assert "broken" in forebay("--help")[1]
    assert "Not available here" in forebay("--help")[1]
    code, _, err = forebay("broken", "list", "--all")
    assert code == 2
    assert err.startswith("forebay: misconfigured: broken: is not available here: the module no_")


def test_the_declared_commands_and_checks_of_the_workers_are_found(forebay, monkeypatch, tmp_path):
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in entries.items())
        for group, entries in groups.items()
    )
    package(tmp_path, text)
    monkeypatch.syspath_prepend(str(tmp_path))
    helps = {each.name: each.help for each in plugins.commands()}
    assert {"gpu", "models", "plan", "router"} <= set(helps)
    assert all(helps.values())
    code, out, _ = forebay("models", "list", "--json")
    assert code == 0
    assert {"qwen2.5-1.5b"} <= {model["name"] for model in json.loads(out)}
    assert {"model", "engine", "gpu", "aws"} <= {
        probe.__name__ for probe in plugins.probes(online=False)
    }


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
