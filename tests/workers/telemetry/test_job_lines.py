"""A line without a record equals the line with one, in either format, and others still listen."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from forebay.routing.jobs import new_id
from forebay.routing.ledger.record import Record
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.logs import Event
from forebay.workers.telemetry.job_lines import JobLines
to_stderr(logging.INFO, worker="local1@here")
logger = logging.getLogger("forebay.jobs")
others = []

class Other(logging.Handler):
    def emit(self, record):
        others.append((record.getMessage(), record.event, record.fields["job"]))

def record(job_id, attempts):
    fields = {"kind": "embed", "state": "running", "hop": "local", "queue": "local.default",
              "egress": "deny", "attempts": str(attempts)}
    return Record.from_hash(job_id, fields)

made = []
original = logging.Logger.makeRecord
def counted(*args, **kwargs):
    made.append(1)
    return original(*args, **kwargs)
logging.Logger.makeRecord = counted

def say():
    lines = JobLines(logger).say
    for number in ("0", "1"):
        of_job = record("acme." + number * 32, 1 + int(number))
        lines(logging.INFO, Event.JOB_ANSWERED, of_job, "100 % \\u00fc", (("cost_usd", 0.5),))
        lines(logging.WARNING, Event.JOB_DEAD, of_job, "too_long", (("code", "too_long"),))
        lines(logging.DEBUG, Event.JOB_LOST, of_job, "below the level")

say()
assert not made, "no record is made while nobody else listens"
logging.getLogger().addHandler(Other())
say()
assert len(made) == 4
assert others[0] == ("100 % \\u00fc", "job.answered", "acme." + "0" * 32), others
assert len(others) == 4
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_are_alike_with_and_without_a_record(form):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
        env={"FOREBAY_LOG": form, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    without, with_record = lines[:4], lines[4:]
    timeless = [re.sub(r"20\d\d-\S+?\+00:00", "", line) for line in lines]
    assert [line for line in lines if not re.search(r"20\d\d-\d\d-\d\dT[\d:.]{12}\+", line)] == []
    assert timeless[:4] == timeless[4:]
    assert len(without) == len(with_record) == 4
    assert [line.count("attempts=2") for line in without] == (
        [0, 0, 1, 1] if form == "text" else [0] * 4
    )
    if form == "json":
        answered = json.loads(without[2])
        del answered["time"]
        assert answered == {
            "level": "INFO", "worker": "local1@here", "event": "job.answered",
            "message": "100 % ü", "job": "acme." + "1" * 32, "tenant": "acme", "kind": "embed",
            "lane": "local", "attempts": 2, "cost_usd": 0.5, "logger": "forebay.jobs",
        }  # fmt: skip
        assert json.loads(without[3])["level"] == logging.getLevelName(logging.WARNING)
