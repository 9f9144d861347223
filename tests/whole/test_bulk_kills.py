"""A bulk ends with each row exactly once, whatever is killed meanwhile."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from forebay.producers.client import Client
from forebay.routing.settings import Settings

pytestmark = pytest.mark.slow

ROWS = 4_000
ENGINE = {
    "FOREBAY_ENGINE": "echo",
    "FOREBAY_SLOTS": "16",
    "FOREBAY_ECHO_DELAY_S": "0.03",
    "FOREBAY_LEASE_S": "2",
    "FOREBAY_SWEEP_S": "0.2",
}
ACTORS = ("router", "local", "local", "sweeper")


@pytest.fixture
def rows(tmp_path):
    """Return the path of a file of rows, one of them bad."""
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for number in range(ROWS):
            word = ("billing", "shipping", "login")[number % 3]
            file.write(json.dumps({"id": f"k{number}", "body": f"my {word} question {number}"}))
            file.write("\n")
        file.write('{"id": "last", "body": 3}\n')
    return path


def command(rows, out, *options):
    return [
        sys.executable, "-m", "forebay.producers.cli.main", "bulk", "run", str(rows), "--kind",
        "classify", "--labels", str(rows.with_name("labels.txt")), "--text-field", "body", "--key",
        "id", "--out", str(out), *options,
    ]  # fmt: skip


@pytest.fixture
def started(fleet, rows):
    """Return a running fleet, and the environment of a command."""
    rows.with_name("labels.txt").write_text("billing\nshipping\nlogin\n")
    fleet.start_redis(appendfsync="always")
    for part in ACTORS:
        fleet.start(part, **ENGINE)
    fleet.wait_ready()
    return fleet, {**os.environ, "FOREBAY_REDIS_URL": fleet.url}


def digest(out):
    """Return a digest of what does not depend on when and where a row was answered."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(1, ROWS + 1))
    answers = [(row["key"], row["status"], row["answer"], row["checks"]) for row in rows]
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()


def written(out):
    return out.read_bytes().count(b"\n") if out.exists() else 0


def until_written(out, count, process):
    end = time.monotonic() + 120
    while written(out) < count:
        assert process.poll() is None, "the bulk ended before"
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_bulk_survives_the_death_of_its_client_of_workers_and_of_redis(started, rows, tmp_path):
    fleet, env = started
    undisturbed, out = tmp_path / "undisturbed.jsonl", tmp_path / "out.jsonl"
    assert subprocess.run(command(rows, undisturbed), env=env, check=False).returncode == 1
    assert written(undisturbed) == ROWS
    assert written(tmp_path / "undisturbed.bad.jsonl") == 1

    parts = {proc.name: proc for proc in fleet.procs}
    process = subprocess.Popen(command(rows, out), env=env)
    until_written(out, ROWS // 8, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = subprocess.Popen(command(rows, out, "--resume"), env=env)
    for share, name in ((2, "local1"), (3, "sweeper1"), (4, "redis"), (5, "router1")):
        until_written(out, ROWS * share // 8, process)
        parts[name].send(signal.SIGKILL)
        parts[name].wait(10)
        parts[name].restart()
    assert process.wait(120) == 1  # one row is bad
    assert digest(out) == digest(undisturbed)
    assert written(tmp_path / "out.bad.jsonl") == 1
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        for progress in client.bulks():
            assert (progress.state, progress.bad) == ("incomplete", 1)
            assert progress.total == progress.written == ROWS + 1
