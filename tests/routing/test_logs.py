"""Lines have one vocabulary and two formats, show only warnings of libraries, and no content."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from collections import defaultdict

import pytest

from forebay.routing.errors import Misconfigured
from forebay.routing.log_lines.line_formats import JsonLines, LogSettings, TextLines
from forebay.routing.logs import Event, event
from forebay.routing.settings import read
from local.fleet import ROOT

CODE = """
import logging, os
from forebay.routing.log_lines.line_handler import to_stderr
from forebay.routing.logs import Event, event
to_stderr(logging.INFO, worker="local1@here")
for name in ("forebay.workers.router", "celery.worker", "celery.app.trace", "httpx"):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger(name).log(level, "said")
extra = event(Event.JOB_DEAD, job="acme.1", code="too_long")
logging.getLogger("forebay").warning("failed", extra=extra)
"""
PRODUCT = [
    path
    for folder in ("routing", "workers", "producers", "src/forebay/testing")
    for path in (ROOT / folder).rglob("*.py")
]
ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def written(**env) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_our_messages_go_to_stderr_and_of_libraries_only_warnings():
    lines = [line.split() for line in written()]
    assert all(line[0].endswith("+00:00") and line[2] == "local1@here" for line in lines)
    assert [(line[1], line[3]) for line in lines] == [
        ("INFO", "forebay.workers.router:"),
        ("WARNING", "forebay.workers.router:"),
        ("INFO", "celery.worker:"),
        ("WARNING", "celery.worker:"),
        ("WARNING", "celery.app.trace:"),  # at INFO it says of every doorbell that it "succeeded"
        ("WARNING", "httpx:"),
        ("WARNING", "job.dead:"),
    ]
    assert lines[-1][4:] == ["failed", "job=acme.1", "tenant=acme", "code=too_long"]


def test_each_line_is_one_json_object_if_json_is_asked_for():
    lines = [json.loads(line) for line in written(FOREBAY_LOG="json")]
    assert {line["worker"] for line in lines} == {"local1@here"}
    assert [line["event"] for line in lines] == ["library"] * 6 + ["job.dead"]
    assert lines[-1] == {
        "time": lines[-1]["time"], "level": "WARNING", "worker": "local1@here",
        "event": "job.dead", "message": "failed", "job": "acme.1", "tenant": "acme",
        "code": "too_long", "logger": "forebay",
    }  # fmt: skip


def test_a_warning_of_python_is_a_line_like_others():
    code = (
        "import logging, warnings\nfrom forebay.routing.log_lines.line_handler import to_stderr\n"
        "to_stderr(logging.INFO)\nwarnings.warn('said', stacklevel=1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"FOREBAY_LOG": "json"},
    )  # fmt: skip
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert "said" in line["message"]


def test_another_format_is_refused(monkeypatch):
    monkeypatch.setenv("FOREBAY_LOG", "yaml")
    with pytest.raises(Misconfigured, match="FOREBAY_LOG: must be 'text' or 'json'"):
        read(LogSettings)


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_an_exception_is_shown_without_its_message(lines):
    try:
        int("kanarie")
    except ValueError:
        fault, extra = sys.exc_info(), event(Event.JOB_BROKE)
    logger = logging.getLogger("x")
    record = logger.makeRecord("x", logging.ERROR, "", 1, "broke", (), fault, extra=extra)
    text = lines.format(record)
    assert "test_logs.py" in text
    assert "ValueError" in text
    assert text.count("kanarie") == 1  # the line of this file, and not the message


def log_calls():
    """Yield each log call of the product: its file, its level, and the source of its `extra`."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if getattr(node.func.value, "id", "") in {"log", "_log"} and node.args:
                extra = [ast.unparse(word.value) for word in node.keywords if word.arg == "extra"]
                if hasattr(logging, node.func.attr.upper()):
                    yield path.name, node.func.attr.upper(), "".join(extra)


def job_lines():
    """Yield the level and the event of each line of a job."""
    source = (ROOT / "workers/telemetry/job_log.py").read_text()
    yield from re.findall(r"say\(_(INFO|WARNING), Event\.([A-Z_]+)", source)


def test_every_line_of_ours_names_its_event():
    calls = list(log_calls())
    assert len(calls) > 40
    assert [call for call in calls if not call[2].startswith("event(")] == []


def test_the_table_of_events_is_complete_and_names_the_levels():
    table = {name: (levels, meaning) for name, levels, meaning in ROW.findall(documented())}
    assert {name: meaning for name, (_, meaning) in table.items()} == {
        str(name): name.meaning for name in Event
    }
    used = defaultdict(set)
    for _, level, extra in log_calls():
        for name in re.findall(r"Event\.([A-Z_]+)", extra):
            used[Event[name]].add(level)
    said = list(job_lines())
    assert len(said) >= 8
    for level, name in said:
        used[Event[name]].add(level)
    assert {name: levels for name, levels in used.items() if levels - words(table[name][0])} == {}


def test_every_event_is_used():
    source = "\n".join(path.read_text() for path in PRODUCT)
    assert [name for name in Event if f"Event.{name.name}" not in source] == []


def documented() -> str:
    return (ROOT / "docs" / "events.md").read_text()


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Z]{4,}", text))
