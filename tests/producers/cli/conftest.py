"""Fixtures of the command line: one run in this process, one in a shell, and a worker's part."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.producers.cli import main as cli
from forebay.routing.jobs import Answer, Receipt, Summary
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def test_server(monkeypatch, redis, redis_url):
    """Point every command at the server of the tests."""
    monkeypatch.setenv("FOREBAY_REDIS_URL", redis_url)


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), bell="")


@pytest.fixture
def forebay(capsys, monkeypatch):
    """Run one command line in this process; return exit code, stdout and stderr."""

    def run(*args, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.run(list(args))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture
def argv():
    """Return the arguments with which a process runs one command line."""
    return lambda *args: [sys.executable, "-m", "forebay.producers.cli.main", *args]


@pytest.fixture
def shell(argv):
    """Run one command line as a user's shell does; return exit code, stdout and stderr."""

    def run(*args, stdin=b"", **env):
        done = subprocess.run(
            argv(*args), input=stdin, capture_output=True, timeout=60, check=False, cwd=ROOT,
            env=os.environ | env,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture
def answer_job(ledger):
    """Answer a job as its worker would, once it is submitted; return its id."""

    def answer(job_id, text="Short.", **fields):
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
            lane="local", reasons=("confident",), model="tiny", revision="abc", **fields,
        )  # fmt: skip
        ledger.settle(claim, Answer(**receipt.model_dump(), content=Summary(text=text)))
        return claim.id

    return answer
