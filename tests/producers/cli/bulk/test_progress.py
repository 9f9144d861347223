"""What people see of a bulk."""

import time
from datetime import datetime, timedelta

import pytest

from forebay.producers.bulk.running.progress import Progress, Rate
from forebay.producers.bulk.sample import Estimate
from forebay.producers.cli.bulk.progress import (
    cells,
    estimate_lines,
    line,
    live,
    next_time_of_day,
    report_lines,
    span,
)

BULK = "acme." + "0" * 32


def progress(**fields):
    return Progress(**{"id": BULK, "state": "running", **fields})


def test_the_line_says_how_far_how_fast_and_what_became_of_the_rows():
    told = line(
        progress(
            total=1_000_000, share=0.25, over=250_000, rows_per_s=1234.5, left_s=607.0, local=9,
            bedrock=20, up=3, degraded=7, failed=1, expired=1, bad=2, spent_usd=0.5,
            projected_usd=2.0, max_usd=5.0, jobs_ahead=12,
        )
    )  # fmt: skip
    assert told == (
        "250,000 of 1,000,000 rows (25%) · 1,234 rows/s · 10 min 7 s left · 12 jobs go first "
        "· 9 local · 20 on Bedrock · 3 going up · 7 degraded · 1 failed · 1 expired · 2 bad "
        "· $0.500000 of $5.00 spent, $2.000000 projected"
    )


@pytest.mark.parametrize(("rate", "shown"), [(0.04, "0.04"), (2.35, "2.4"), (1234.5, "1,234")])
def test_a_slow_rate_is_shown_with_its_fraction(rate, shown):
    assert f" · {shown} rows/s" in line(progress(rows_per_s=rate))


def test_the_line_of_an_ended_bulk_tells_what_stays_reserved():
    ended = progress(state="incomplete", over=2, spent_usd=0.5, reserved_usd=0.25, max_usd=5.0)
    assert "$0.500000 of $5.00 spent, $0.250000 reserved: some calls" in line(ended)
    assert "reserved" not in line(progress(spent_usd=0.5, reserved_usd=0.25))


def test_what_the_mock_billed_is_called_no_money():
    mocked = progress(spent_usd=0.5, bedrock=2, mock=2)
    for shown in (line(mocked), list(report_lines(mocked))[2]):
        assert "$0.500000 spent by the mock: no money" in shown
    assert "$0.500000 mock" in cells(mocked)
    real = progress(spent_usd=0.5, bedrock=2)
    assert not any("mock" in each for each in (line(real), *report_lines(real), *cells(real)))


def test_a_running_bulk_that_no_process_feeds_is_detached():
    lines = list(report_lines(progress(fed=False, over=5)))
    assert lines[0] == f"bulk {BULK}: detached"
    assert lines[1] == f"no process feeds it: `forebay bulk resume {BULK}` goes on"
    assert cells(progress(fed=False))[1] == "detached"
    assert cells(progress(fed=False, state="done"))[1] == "done"


def test_an_estimate_shows_failed_checks_and_errors_with_examples():
    wrong = {
        "row": 3, "answer": {"text": "77 parcels"}, "error_note": None,
        "checks": [{"name": "numbers", "passed": False, "note": "has other numbers"}],
    }  # fmt: skip
    none = {"row": 4, "answer": None, "checks": [], "error_note": "no answer will do"}
    found = Estimate(
        rows=9, bad=0, sampled=2, rows_per_s=1.0, whole_s=9.0, whole_usd=0.0, local=0.5,
        bedrock=0.0, degraded=0.5, failed=0.5, checks={"numbers": 1}, errors={"bad_answer": 1},
        examples={"numbers": [wrong], "bad_answer": [none]},
    )  # fmt: skip
    assert list(estimate_lines(found))[3:] == [
        "fails the check numbers: 1", '  row 3: {"text": "77 parcels"} (has other numbers)',
        "has no answer, bad_answer: 1", "  row 4: no answer will do",
    ]  # fmt: skip


def test_an_estimate_of_no_rows_says_where_the_bad_ones_are():
    found = Estimate(
        rows=0, bad=2, sampled=0, rows_per_s=0.0, whole_s=0.0, whole_usd=0.0, local=0.0,
        bedrock=0.0, degraded=0.0, failed=0.0, checks={}, errors={}, examples={},
    )  # fmt: skip
    assert list(estimate_lines(found)) == [
        "0 valid rows, 2 bad rows; 0 answered", "--dry-run prints the bad rows",
    ]  # fmt: skip


def test_what_is_not_known_is_not_said():
    assert line(progress(over=5)) == "5 rows"
    assert line(progress(over=5, state="paused")) == "paused: 5 rows"


@pytest.mark.parametrize(("left_s", "told"), [(60, "in time for"), (7200, "too late for")])
def test_a_deadline_is_held_against_the_rate(left_s, told):
    assert told in line(progress(left_s=left_s, deadline=time.time() + 3600))


def test_the_report_names_failed_checks_and_rows():
    told = progress(
        checks={"label": 3}, errors={"too_long": 2}, local=9, written=11, out="/tmp/out.csv"
    )
    lines = list(report_lines(told))
    assert lines[2:] == [
        "answered locally 9, on Bedrock 0; $0.000000 spent", "failed checks: label 3",
        "failed rows: too_long 2", "results: /tmp/out.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (18_720, "5 h 12 min")],
)
def test_a_span_is_told_in_its_two_largest_units(seconds, text):
    assert span(seconds) == text


def test_a_time_of_day_is_the_next_one():
    now = datetime.now().astimezone()
    soon = now + timedelta(minutes=2)
    assert next_time_of_day(f"{soon:%H:%M}") == soon.replace(second=0, microsecond=0)
    past = next_time_of_day(f"{now - timedelta(minutes=2):%H:%M}")
    assert timedelta(hours=23) < past - now < timedelta(hours=24)
    for text in ("25:00", "6", "06:60", "8h", ""):
        assert next_time_of_day(text) is None


def test_in_a_pipe_a_line_is_printed_now_and_then(monkeypatch):
    lines = []
    with live(lines.append) as report:
        report(progress(over=1))
        report(progress(over=2))
        monkeypatch.setattr("forebay.producers.cli.bulk.progress.LINE_EVERY_S", 0)
        report(progress(over=3))
    assert lines == ["1 rows", "3 rows"]


def test_the_rate_is_a_mean_over_the_last_minute():
    rate = Rate()
    assert rate() is None
    rate.add(0, 0.0)
    assert rate() is None
    rate.add(100, 10.0)
    assert rate() == 10
    for second in range(20, 200, 10):
        rate.add(100 + 50 * (second - 10), float(second))
    assert rate() == pytest.approx(50)
