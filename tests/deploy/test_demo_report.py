"""The tables of the demo fit the width, and hold questions, answers and catches."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from local import demo, demo_report


def row(**fields):
    return {
        "name": "order-number", "kind": "extract", "egress": "deny", "lane": "local",
        "reasons": ["egress_denied"], "model": "tiny", "stand_in": False, "degraded": False,
        "tokens_in": 10, "tokens_out": 5, "cost_usd": 0.0, "seconds": 1.5, "status": "done",
        "asked": "Where is\nmy order ORD-17? " * 30, "answered": '{"order": "ORD-17"}',
        "reference": {"order": "ORD-17"}, "refused": None,
    } | fields  # fmt: skip


ROWS = [
    row(),
    row(name="degraded", degraded=True, reasons=["check_failed:grounded", "egress_denied"],
        refused="[red]wrong[/] \x1b[31m", answered="[red]wrong[/] \x1b[31m", reference="right"),
    row(name="escalated", lane="bedrock", egress="allow", stand_in=True, refused="first try",
        answered="second try", reference="second try",
        reasons=["verdict_easy", "check_failed:length", "check_failed:names"]),
    row(name="failed", status="failed", lane=None, answered="(bad_answer)", refused=None,
        reasons=["no_answer"], reference=None),
]  # fmt: skip


def printed(width):
    console = Console(width=width, file=io.StringIO())
    demo_report.show(console, ROWS, 12.0)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, printed(width).splitlines())) <= width


def test_each_job_shows_its_question_and_its_answer():
    text = printed(200)
    lines = [line for line in text.splitlines() if "Where is my order" in line]
    assert len(lines) == len(ROWS)
    assert '{"order": "ORD-17"}' in lines[0]
    assert "\x1b" not in text


def test_each_reason_is_explained_once():
    lines = [line.strip() for line in printed(120).splitlines()]
    for code, words in (
        ("egress_denied", "the content may not leave the building"),
        ("check_failed", "the answer failed the named check"),
    ):
        explained = [line for line in lines if line.startswith(f"{code} ") and words in line]
        assert len(explained) == 1


def test_what_the_checks_caught_stands_beside_what_is_right():
    lines = printed(200).splitlines()
    at = lines.index("degraded: refused by grounded; returned as degraded, since it may not leave")
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["refused", "[red]wrong[/]", "[31m"], ["right", "right"],
    ]  # fmt: skip
    at = lines.index("escalated: refused by length, names; went up")
    assert [line.strip() for line in lines[at + 1 : at + 3]] == [
        "refused  first try", "bedrock  second try",
    ]  # fmt: skip
    assert lines[at + 3] == "failed: refused by no_answer; failed"


def test_the_width_is_that_of_columns_also_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "93")
    assert demo_report.make_console().width == 93
    monkeypatch.delenv("COLUMNS")
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", io.StringIO())
    assert demo_report.make_console().width == demo_report.LOG_WIDTH


def test_a_pipe_gets_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(demo, "LINE_EVERY_S", 3600.0)
    console = Console(width=100, file=io.StringIO())
    with demo._doing(console, "Starting"), demo._progress(console, 3) as tick:
        for lane in ("local", "bedrock", "local"):
            tick(SimpleNamespace(lane=lane, status="done"))
    assert console.file.getvalue() == ("Starting\n3 of 3 jobs answered: 1 bedrock, 2 local\n")
