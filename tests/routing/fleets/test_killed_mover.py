"""The mover is killed before each of its steps, while another process goes on submitting."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from forebay.routing.fleets.moving.state import STEPS
from forebay.routing.jobs import Job, Summarize, Summary, new_id
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from working import working

pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).parents[2] / "support"


def program(name, *args):
    return [sys.executable, str(SUPPORT / name), *map(str, args)]


def move(two, fatal="none"):
    """Move the tenant, and be killed before a step; return the exit code."""
    return subprocess.run(
        program("doomed_mover.py", two.path, fatal), timeout=60, check=False
    ).returncode


def lines_of(producer):
    out, _ = producer.communicate("", timeout=60)
    return [line.split() for line in out.splitlines()]


def test_each_job_ends_once_and_is_found_by_its_id_and_by_its_key(two):
    budget = Budget(two.redis["west"])
    budget.reserve("c1", new_id("acme"), "acme", 700, term_s=1)
    budget.settle("c1", 700)
    with ExitStack() as stack:
        for fleet in two.urls:
            stack.enter_context(working(two.ledger(fleet)))
        producer = subprocess.Popen(
            program("keyed_producer.py", two.path), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        for step in STEPS[1:]:
            assert move(two, step) == -signal.SIGKILL
        assert move(two) == 0
        submitted = lines_of(producer)
        assert producer.returncode == 0
        first = dict(reversed([(number, job) for number, job in submitted]))
        assert len(first) > 20
        assert [job for number, job in submitted if first[number] != job] == []
        with two.client() as client:
            for number, job in first.items():
                assert client.result(job, timeout=20).content == Summary(text=f"T{number}")
    assert set(two.redis["west"].keys("fb:job:acme.*")) == set()
    assert len(two.redis["east"].keys("fb:job:acme.*")) == len(first)
    assert Budget(two.redis["east"]).spent("acme") == (700, 0)


def test_no_call_is_paid_in_the_new_fleet_before_it_knows_what_was_spent(two):
    """The canary: without the pause, both fleets could spend the budget."""
    assert move(two, "drain") == -signal.SIGKILL
    assert [pause.scope for pause in Pauses(two.redis["east"]).all()] == ["bedrock:acme"]
    ledger = two.ledger("east")
    with two.client() as client:
        client.submit(_up())
        claim = ledger.claim("route")
        ledger.route(claim, "bedrock", "allow", "hard", None)
        assert ledger.claim("bedrock") is None
        assert move(two) == 0
        assert ledger.claim("bedrock") is not None


def _up():
    return Job(tenant="acme", egress="allow", request=Summarize(text="hard"))
