"""`forebay report`: jobs, tokens and dollars, what was saved, and one page without a network."""

import itertools
import json
import re
import subprocess
import sys
import time

import pytest

from egress import HAIKU
from forebay.producers.cli.money.pages import plots, report_page
from forebay.routing.limits.prices import Prices, Usage

PRICES = Prices.load()
COST = PRICES.cost(HAIKU, Usage(1_000, 100))
LOCAL = PRICES.cost(HAIKU, Usage(900, 100))  # of one local answer, had the frontier given it


@pytest.fixture
def books(calls, jobs):
    calls("a", "b")
    calls("audit", purpose="audit")
    calls("mock", stand_in=True)
    calls("open", state="open")
    jobs(10)
    jobs(5, tenant="beta", kind="extract")
    jobs(2, lane="bedrock", model=HAIKU, nusd=2 * COST)
    jobs(4, lane="bedrock", model=HAIKU, stand_in=True, nusd=99)
    jobs(3, state="failed", lane="", model="")
    jobs(6, kind="embed")
    jobs.other()


def report(forebay, *args):
    code, out, _ = forebay("report", "--json", *args)
    assert code == 0
    return json.loads(out)


def test_the_sums_are_right_and_the_mocks_money_is_apart(forebay, books):
    found = report(forebay)
    lanes = {name: (sums["jobs"], sums["usd"]) for name, sums in found["groups"].items()}
    paid = 2 * COST / 1e9
    assert lanes == {"local": (21, 0), "bedrock": (2, paid), "mock": (4, 0), "no answer": (3, 0)}
    assert found["paid_usd"] == 3 * COST / 1e9
    assert found["mock_usd"] == COST / 1e9
    assert found["open_usd"] == 1.0
    assert found["calls"]["audit"] == {"calls": 1, "usd": COST / 1e9}


def test_the_rows_and_what_stands_below_paid_add_up_to_what_was_paid(forebay, books, calls):
    assert report(forebay)["unused_usd"] == 0
    calls("its-answer-failed-its-checks")
    found = report(forebay)
    parts = found["total"]["usd"], found["calls"]["audit"]["usd"], found["unused_usd"]
    assert sum(parts) == pytest.approx(found["paid_usd"])
    assert found["unused_usd"] == pytest.approx(COST / 1e9)
    _, out, _ = forebay("report")
    heads = ["paid for the frontier", "of it for audits (1 call)", "of it for answers not used"]
    order = [line.partition("  ")[0] for line in out.splitlines() if not line.isupper()]
    first = order.index(heads[0])
    assert order[first : first + 4] == [*heads, "all on the frontier"]


@pytest.mark.parametrize("by", ["lane", "tenant", "model", "day"])
def test_rows_say_what_was_paid_for_them_if_it_is_more_than_their_answers(
    forebay, books, calls, by
):
    calls("its-answer-failed-its-checks", tenant="beta")
    found = report(forebay, "--by", by)
    assert sum(sums["paid_usd"] for sums in found["groups"].values()) == found["paid_usd"]
    assert found["total"]["paid_usd"] == found["paid_usd"] > found["total"]["usd"]
    if by == "tenant":
        assert found["groups"]["beta"]["paid_usd"] == COST / 1e9
    assert "PAID" in forebay("report", "--by", by)[1].splitlines()[0]
    assert "PAID" not in forebay("report", "--by", "kind")[1]


def test_what_the_mock_billed_beyond_its_answers_stands_apart(forebay, calls, jobs):
    jobs(1, lane="bedrock", model=HAIKU, stand_in=True, nusd=COST)
    calls("used", stand_in=True)
    assert report(forebay)["mock_unused_usd"] == 0
    calls("audit", stand_in=True, purpose="audit")
    found = report(forebay)
    assert (found["paid_usd"], found["total"]["paid_usd"], found["saved_usd"]) == (0, 0, 0)
    assert found["mock_unused_usd"] == COST / 1e9
    lines = forebay("report")[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("billed by the mock"))
    assert lines[first + 1].startswith("of it audits, answers not used")


def test_money_that_four_places_cannot_say_is_not_shown_as_none(forebay, jobs, calls):
    jobs(1, lane="bedrock", model=HAIKU, nusd=20_000)
    lines = forebay("report")[1].splitlines()
    assert [" < 0.0001 " in line for line in lines[:3]] == [False, True, True]


def test_what_was_saved_is_the_frontiers_price_of_local_answers_less_audits(forebay, books):
    found = report(forebay)
    assert found["frontier"] == HAIKU
    assert found["all_frontier_usd"] == pytest.approx((2 * COST + 15 * LOCAL) / 1e9, abs=1e-12)
    assert found["saved_usd"] == pytest.approx((15 * LOCAL - COST) / 1e9, abs=1e-12)
    dearer = report(forebay, "--frontier", "anthropic.claude-opus-5-5")
    assert dearer["saved_usd"] > 10 * found["saved_usd"]
    assert any("anthropic.claude-opus-5-5" in line for line in dearer["assumptions"])


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("kind", {"classify", "extract", "embed"}),
        ("tenant", {"acme", "beta"}),
        ("model", {"tiny", HAIKU, "no answer"}),
    ],
)
def test_the_rows_are_what_was_asked_for(forebay, books, by, names):
    found = report(forebay, "--by", by)
    assert found["groups"].keys() == names
    assert sum(sums["jobs"] for sums in found["groups"].values()) == found["total"]["jobs"] == 30


def test_a_report_of_a_tenant_holds_nothing_of_others(forebay, books):
    found = report(forebay, "--tenant", "beta", "--by", "tenant")
    assert found["groups"].keys() == {"beta"}
    assert found["escalation_reasons"] == {"doubtful": 1}
    assert (found["paid_usd"], found["audit_agreement"]) == (0, None)


def test_reasons_checks_and_audits_are_counted_without_the_mocks(forebay, books):
    found = report(forebay)
    assert found["escalation_reasons"] == {"verdict_hard": 3, "doubtful": 1}
    assert found["failed_checks"] == {"grounding": 4}
    assert (found["audits"], found["audit_agreement"]) == ({"agreed": 3, "differed": 1}, 0.75)


def test_a_report_for_people_says_what_it_assumes(forebay, books):
    code, out, err = forebay("report")
    assert code == 0
    assert "went up because" in out
    assert "verdict_hard 3, doubtful 1" in out
    assert "forebay tco" in err


def test_an_empty_fleet_has_a_report(forebay, tmp_path):
    page = tmp_path / "report.html"
    assert forebay("report", "--html", str(page))[0] == 0
    assert "Forebay report" in page.read_text()


def test_the_page_is_small_and_loads_nothing(forebay, books, tmp_path):
    page = tmp_path / "report.html"
    assert forebay("report", "--html", str(page))[0] == 0
    text = page.read_text()
    assert len(text) < 300_000
    assert text.count("<svg") == 3
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|(?:src|href)=\"(?!#)http", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", text)  # every colour is the page's


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--by", "hour"], "must be lane, kind, tenant, model, day"),
        (["--frontier", "gpt-9"], "no price is listed for 'gpt-9'"),
        (["--html", "/nowhere/x.html"], "--html: /nowhere/x.html cannot be written"),
        (["--prices", "/nowhere/prices.toml"], "cannot be read"),
    ],
)
def test_a_mistake_is_one_error(forebay, books, args, message):
    code, out, err = forebay("report", *args)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_page_without_matplotlib_names_the_extra(forebay, jobs, monkeypatch, tmp_path):
    jobs(1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = forebay("report", "--html", str(tmp_path / "x.html"))
    assert code == 2
    assert (
        "install the extra `report`; in the folder of Forebay, that is: pip install '.[report]'"
        in err
    )


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_draws_the_page(forebay, books, tmp_path):
    page = tmp_path / "report.html"
    forebay("report", "--html", str(page))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, page.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.count("<svg") == 3
    assert "answered in the building" in done.stdout


@pytest.mark.parametrize("count", [8, 24, 48, 72])
@pytest.mark.parametrize("step_s", [3_600, 86_400])
def test_the_labels_of_the_time_axis_do_not_run_into_each_other(count, step_s):
    labels = report_page.time_labels([step_s * number for number in range(count)], step_s)
    drawn, axes = plots.figure()
    axes.plot(range(count), range(count))
    plots._times(axes, labels)
    drawn.canvas.draw()
    boxes = [tick.label1.get_window_extent() for tick in axes.xaxis.get_major_ticks()]
    assert all(left.x1 + 2 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_target_stands_beside_what_was_reached_and_the_budget_that_refused(
    forebay, books, redis, tmp_path, monkeypatch
):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tenants.acme.pace]\nshare = 0.9\n")
    monkeypatch.setenv("FOREBAY_POLICY_FILE", str(policy))
    day = int(time.time()) // 86_400
    at = {"*:refused": time.time_ns() // 10**6, "*:last_refused": time.time_ns() // 10**6}
    redis.hset(f"fb:spend:day:{day}", mapping=at | {"*:refusals": 12})
    (one,) = report(forebay)["targets"]
    assert (one["tenant"], one["share"], one["missed"]) == ("acme", 0.9, True)
    assert one["why"][0].startswith("the fleet's budget of the day refused 12 calls from")
    page = tmp_path / "report.html"
    _, out, _ = forebay("report", "--html", str(page))
    for text in (out, page.read_text()):
        assert "refused 12 calls from" in text.replace("&#x27;", "'")
        assert "90.0% of its jobs" in text
