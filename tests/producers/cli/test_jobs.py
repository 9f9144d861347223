"""The commands about one job: its answer, its status, and its end."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from forebay.routing.jobs import Answer, Job, Receipt, Summarize, new_id
from patience import slowdown

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", ["result", "status", "cancel", "forget"])
def test_an_unknown_job_is_the_callers_mistake(forebay, command):
    for job_id in ("junk", "", "Not An Id.", new_id("default")):
        code, out, err = forebay(command, "--json", "--", job_id)
        if command == "forget" and job_id.startswith("default."):
            assert json.loads(out) == {"id": job_id, "forgotten": False}
        else:
            assert (code, json.loads(out)["error"]["code"], err) == (2, "unknown_job", "")


def test_an_unknown_job_may_be_forgotten_or_of_another_tenant(forebay):
    code, _, err = forebay("result", new_id("default"))
    assert code == 2
    assert "no such job; an answer is kept for FOREBAY_RETENTION_S seconds" in err
    assert "(--tenant)" in err


def test_a_job_of_another_tenant_is_unknown(forebay):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t", "--tenant", "acme")
    assert forebay("status", job_id.strip())[0] == 0
    assert forebay("status", job_id.strip(), "--tenant", "other")[0] == 2


def test_the_answer_is_on_stdout_and_its_origin_on_stderr(forebay, answer_job):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    answer_job(job_id.strip(), tokens_in=12, cost_nusd=1_500)
    code, out, err = forebay("result", job_id.strip())
    assert (code, out) == (0, "Short.\n")
    assert err == (
        "forebay: local (confident) · tiny abc · 12 tokens in, 0 out · $0.000002 · 0.0 s\n"
    )
    code, out, err = forebay("result", job_id.strip(), "--json")
    assert (code, err) == (0, "")
    assert Answer.model_validate_json(out).content.text == "Short."


def test_result_waits_only_if_asked_to(forebay):
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    started = time.monotonic()
    code, out, err = forebay("result", job_id.strip())
    assert time.monotonic() - started < 5 * slowdown()
    assert (code, out) == (1, "")
    assert "forebay: timeout: not ended yet: no worker serves route, 1 waiting" in err
    code, out, _ = forebay("result", job_id.strip(), "--timeout", "0.3", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "timeout")


def test_status_says_the_position_and_whether_a_worker_serves_the_queue(forebay, ledger):
    forebay("submit", "summarize", "--text", "t")
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    assert "no worker serves route, 2 waiting" in forebay("status", job_id.strip())[1]
    ledger.serve("router@here", ["route"], 10)
    assert "waiting for route, 2 of 2" in forebay("status", job_id.strip())[1]
    _, out, _ = forebay("status", job_id.strip(), "--json")
    assert json.loads(out)["position"] == 1


def test_status_says_why_a_job_waits_for_a_retry_and_why_it_failed(forebay, ledger):
    (job_id,) = ledger.create([Job(tenant="acme", request=Summarize(text="t"))])
    ledger.serve("w", ["route"], 60)
    claim = ledger.claim("route")
    ledger.retry(claim, "throttled", delay_s=0.0)
    claim = ledger.claim("route")
    ledger.retry(claim, "throttled", delay_s=60)
    assert "waiting for a retry in route after throttled" in forebay("status", job_id)[1]
    (dead,) = ledger.create([Job(tenant="acme", request=Summarize(text="t"))])
    claim = ledger.claim("route")
    why = {"status": "failed", "error": "too_long", "error_note": "is long"}
    ledger.settle(claim, Receipt(**claim.record.heading(), **why))
    assert forebay("status", dead)[1].startswith("failed (too_long: is long), ")


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


def test_submit_waits_and_prints_the_answer(argv, answer_job):
    command = argv("submit", "summarize", "--text", "t", "--wait")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as waiting:
        job_id = answer_job(None, text="Ünïcode.")
        out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (0, "Ünïcode.\n")
    assert err.splitlines()[0] == f"forebay: job {job_id}"


def test_a_terminal_shows_a_live_line_that_says_if_no_worker_serves_the_queue(argv, answer_job):
    terminal, stderr = pty.openpty()
    command = argv("submit", "summarize", "--text", "t", "--timeout", "30", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    ) as waiting:  # fmt: skip
        os.close(stderr)
        seen = b""
        while b"no worker serves route" not in seen:
            seen += os.read(terminal, 4096)
        answer_job(None)
        out = waiting.stdout.read()
        waiting.wait(timeout=30)
    os.close(terminal)
    assert waiting.returncode == 0
    assert json.loads(out)["content"]["text"] == "Short."


def test_without_a_terminal_there_is_one_warning_and_no_progress(shell):
    code, out, err = shell("submit", "summarize", "--text", "t", "--timeout", "1.5")
    lines = err.splitlines()
    assert (code, out) == (1, "")
    assert lines[0].startswith("forebay: job default.")
    assert lines[1] == "forebay: no worker serves route"
    assert lines[2].startswith("forebay: timeout: not ended yet")
    assert len(lines) == 3


def test_ctrl_c_while_waiting_exits_with_130_and_the_job_continues(ledger, argv):
    command = argv("submit", "summarize", "--text", "t", "--wait", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as waiting:
        first = waiting.stderr.readline()
        warning = waiting.stderr.readline()  # the command now waits
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, json.loads(out)["error"]["code"]) == (130, "interrupted")
    assert "no worker serves route" in warning
    assert "Traceback" not in err
    assert ledger.claim("route").id == first.split()[-1]


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_job_with_cancel_on_exit(ledger, argv, ends):
    command = argv("submit", "summarize", "--text", "t", "--wait", "--cancel-on-exit")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as waiting:
        job_id = waiting.stderr.readline().split()[-1]
        waiting.stderr.readline()  # nobody serves the queue: the wait has begun
        waiting.send_signal(ends)
        _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert f"job {job_id} is cancelled" in err
    assert ledger.record(job_id).state == "cancelled"


def test_a_wait_that_takes_too_long_cancels_the_job_with_cancel_on_exit(forebay, ledger):
    options = ("--timeout", "0.1", "--cancel-on-exit")
    code, _, err = forebay("submit", "summarize", "--text", "t", *options)
    job_id = err.split()[2]
    assert (code, ledger.record(job_id).state) == (1, "cancelled")
    _, job_id, _ = forebay("submit", "summarize", "--text", "t")
    assert forebay("result", job_id.strip(), *options)[0] == 1
    assert ledger.record(job_id.strip()).state == "cancelled"


def test_cancel_on_exit_is_refused_without_a_wait(forebay, redis):
    code, out, err = forebay("submit", "summarize", "--text", "t", "--cancel-on-exit")
    assert (code, out) == (2, "")
    assert "--cancel-on-exit: is about a wait: add --wait or --timeout" in err
    assert not redis.keys("fb:job:*")


@pytest.mark.parametrize(
    ("reply", "state", "says"),
    [("y\n", "cancelled", "is cancelled"), ("n\n", "waiting", "goes on"),
     ("\n", "waiting", "goes on"), ("\x03", "waiting", "goes on")],
)  # fmt: skip
def test_ctrl_c_on_a_terminal_asks_what_becomes_of_the_job(ledger, argv, reply, state, says):
    terminal, theirs = pty.openpty()
    command = ["setsid", "--ctty", *argv("submit", "summarize", "--text", "t", "--wait")]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    ) as waiting:  # fmt: skip
        os.close(theirs)
        seen = read_until(terminal, b"no worker serves route")
        os.write(terminal, b"\x03")
        read_until(terminal, b"[y/N]")
        time.sleep(0.3)  # Python misses a signal that comes just before it begins to read
        os.write(terminal, reply.encode())
        seen += read_until(terminal, says.encode())
        waiting.wait(timeout=30)
    os.close(terminal)
    job_id = re.search(rb"job (default\.\w+)", seen)[1].decode()
    assert waiting.returncode == 130
    assert ledger.record(job_id).state == state


def read_until(terminal, words):
    """Return what comes on a terminal until these words have come."""
    seen = b""
    while words not in seen:
        seen += os.read(terminal, 4096)
    return seen
