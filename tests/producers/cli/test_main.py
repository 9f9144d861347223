"""The command line as a whole: help, exit codes, errors in one line, and never a traceback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.producers.cli import display
from forebay.producers.cli import main as cli
from forebay.routing.base import KINDS
from forebay.routing.jobs import Job, Summarize, new_id

SECRET = "the-canary-in-the-job"
DEAD = "redis://127.0.0.1:1/0"
ROOT = Path(__file__).parents[3]
CLASSIFY = ["classify", "--text", "My card was charged twice", "--label", "billing", "--label", "x"]


@pytest.mark.parametrize(
    ("args", "field", "words"),
    [
        (["--verison"], "--verison", "is not an option; did you mean --version?; see `forebay -h`"),
        (["subimt"], "subimt", "is not a command; did you mean submit?; see `forebay -h`"),
        (["bulk", "rnu"], "rnu", "is not a command; did you mean run?; see `forebay bulk -h`"),
        (["bulk", "run", "f", "--ordr", "x"], "--ordr", "is not an option; did you mean --order?"),
        (["bulk", "run", "f", "--order"], "--order", "needs a value after it"),
        (["bulk", "run"], "FILE", "is missing, add it: the rows: a file, a folder, or - for stdin"),
        (["result"], "ID", "is missing, add it: the job id that `submit` printed"),
        (["status", "a", "b"], "b", "is more than the command takes: remove it, or quote a text"),
        (["top", "--json=yes"], "--json", "takes no value: remove what stands after ="),
        (["dead", "list", "--limit", "0"], "--limit", "must be at least 1"),
        (["bulk", "run", "f", "--sample", "-4"], "--sample", "must be at least 1"),
        (["submit", "generate", "--max-tokens", "x"], "--max-tokens", "must be a whole number"),
        (["submit", "generate", "--max-cost", "x"], "--max-cost", "must be a number"),
        (["result", "--timeout", "soon", "id"], "--timeout", "must be a number; see `forebay resu"),
        (["models", "path", "--nonsense"], "--nonsense", "is not an option; see `forebay models"),
    ],
)
def test_a_usage_mistake_is_one_line_that_names_the_option_and_the_fix(forebay, args, field, words):
    code, out, err = forebay(*args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"forebay: usage: {field}: {words}")
    if args[-1] not in {"--json=yes", "--order"}:
        code, out, err = forebay(*args, "--json")
        error = json.loads(out)["error"]
        assert (code, err, error["code"]) == (2, "", "usage")


def test_a_group_without_a_command_shows_its_commands(forebay):
    code, out, err = forebay("bulk")
    assert (code, out) == (2, "")
    assert err.startswith("Usage: forebay bulk ")


def test_the_version_is_an_option_and_a_command(forebay):
    code, out, err = forebay("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", out)
    assert forebay("version") == (code, out, err)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_has_every_kind(forebay, kind):
    code, out, _ = forebay("schema")
    assert code == 0
    assert kind in json.dumps(json.loads(out)["$defs"])


def test_control_characters_of_an_answer_do_not_reach_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    display.text("a\x1b]0;owned\x07b\x9b31m\n\tc\u202e")
    assert capfd.readouterr().out == "a]0;ownedb31m\n\tc\n"


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
def test_an_unreachable_redis_or_a_wrong_address_is_one_clear_error(
    forebay, monkeypatch, url, exit_code, code
):
    monkeypatch.setenv("FOREBAY_REDIS_URL", url)
    done = forebay("submit", *CLASSIFY, "--json")
    assert (done[0], json.loads(done[1])["error"]["code"]) == (exit_code, code)
    assert "hunter2" not in done[1] + done[2]


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [("default." + "0" * 32, True), ("my secret text", False)],
)
def test_an_error_as_json_names_its_job(forebay, job_id, shown):
    code, out, _ = forebay("status", job_id, "--json")
    error = json.loads(out)["error"]
    assert code == 2
    assert error["job_id"] == (job_id if shown else None)
    assert "secret" not in out


def test_the_error_of_a_failed_job_as_json_names_the_job(forebay, ledger):
    (job_id,) = ledger.create([Job(request=Summarize(text="We met at noon."))])
    ledger.cancel(job_id)
    code, out, _ = forebay("result", job_id, "--json")
    assert (code, json.loads(out)["error"]["job_id"]) == (1, job_id)


def test_an_unreachable_redis_is_one_line_in_a_shell(shell):
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


def test_binary_data_on_stdin_is_one_line(shell):
    assert shell("submit", stdin=os.urandom(100_000))[::2] == (
        2,
        "forebay: invalid_job: standard input: is not UTF-8 text\n",
    )


def test_an_unexpected_error_shows_its_place_and_not_its_message(monkeypatch, capsys, forebay):
    def breaks(*_args):
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr("forebay.producers.client.Client.status", breaks)
    code, _, err = forebay("status", new_id("default"))
    assert code == 1
    assert re.match(r"forebay: internal: ZeroDivisionError at cli/test_main.py:\d+; ", err)
    assert SECRET not in err
    assert "FOREBAY_DEBUG=1" in err
    monkeypatch.setenv("FOREBAY_DEBUG", "1")
    assert cli.run(["status", new_id("default")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error_message():
    command = f'"{sys.executable}" -m forebay.producers.cli.main schema | head -c 10'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, cwd=ROOT, timeout=60
    )
    assert (len(done.stdout), done.stderr) == (10, b"")


def test_help_needs_neither_celery_nor_redis_nor_pydantic():
    script = (
        "import sys; from forebay.producers.cli.main import run; run(['--help']); "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert {"typer", "forebay.producers.cli.main"} <= loaded
    assert not {"celery", "redis", "pydantic", "rich", "boto3"} & loaded


def test_every_command_takes_json_and_has_help_that_fits_80_columns(forebay, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    commands, seen = [()], set()
    while commands:
        command = commands.pop()
        code, text, _ = forebay(*command, "--help")
        assert (code, f"Usage: {' '.join(('forebay', *command))}" in text) == (0, True)
        assert [line for line in text.splitlines() if len(line) > 80] == []
        children = re.findall(
            r"^  ([a-z][a-z-]*)  +(\S.*)",
            text.partition("Commands:" if command else "Options:")[2],
            re.MULTILINE,
        )
        assert [text for _, text in children if text.endswith("...")] == [], "cut short"
        assert children or "--json" in text or command == ("serve",), command
        commands += [(*command, name) for name, _ in children]
        seen |= {" ".join((*command, name)) for name, _ in children}
    assert {"submit", "result", "dead replay", "models pull", "router eval", "gpu build"} <= seen
