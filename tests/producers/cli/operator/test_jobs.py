"""`forebay jobs`: the jobs of all tenants, by filters, and never their content."""

from __future__ import annotations

import json
import sys

import pytest

from forebay.routing.jobs import Job, Receipt, Summarize

CANARY = "kanarie"


@pytest.fixture
def jobs(ledger):
    """Return the ids of a dead, a running and a waiting job of three tenants."""
    ids = {}
    for tenant in ("acme", "beta", "gamma"):
        request = Summarize(text=f"{CANARY} text", focus=CANARY)
        (ids[tenant],) = ledger.create([Job(tenant=tenant, request=request)])
        claim = ledger.claim("route") if tenant != "gamma" else None
        if tenant == "acme":
            failed = {"status": "failed", "error": "too_long", "error_note": "is too long"}
            ledger.settle(claim, Receipt(**claim.record.heading(), **failed))
    return ids


def test_the_list_shows_all_tenants_and_no_content(forebay, jobs):
    code, out, err = forebay("jobs", "list")
    header, *rows = out.splitlines()
    assert (code, err) == (0, "forebay: 3 jobs\n")
    assert header.split() == ["ID", "KIND", "STATE", "QUEUE", "ATTEMPTS", "AGE", "CODE"]
    states = {row.split()[0]: row.split()[2] for row in rows}
    assert states == {
        jobs["acme"]: "failed", jobs["beta"]: "running", jobs["gamma"]: "waiting",
    }  # fmt: skip
    assert CANARY not in out


@pytest.mark.parametrize(
    ("options", "tenants"),
    [
        (["--state", "running", "--state", "waiting"], {"beta", "gamma"}),
        (["--state", "running"], {"beta"}),
        (["--tenant", "acme"], {"acme"}),
        (["--code", "too_long"], {"acme"}),
        (["--queue", "route"], {"acme", "beta", "gamma"}),
        (["--kind", "classify"], set()),
        (["--older", "1h"], set()),
        (["--newer", "1h"], {"acme", "beta", "gamma"}),
    ],
)
def test_filters_narrow_the_list(forebay, jobs, options, tenants):
    code, out, _ = forebay("jobs", "list", *options, "--json")
    document = json.loads(out)
    assert (code, document["matched"], document["complete"]) == (0, len(tenants), True)
    assert {job["id"] for job in document["jobs"]} == {jobs[tenant] for tenant in tenants}
    assert CANARY not in out


def test_the_tenant_of_the_environment_narrows_the_list(forebay, jobs, monkeypatch):
    monkeypatch.setenv("FOREBAY_TENANT", "beta")
    _, out, _ = forebay("jobs", "list", "--json")
    assert [job["tenant"] for job in json.loads(out)["jobs"]] == ["beta"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--state", "dead"], "'--state': must be one of waiting, running, done, failed,"),
        (["--kind", "translate"], "'--kind': must be one of classify, extract"),
        (["--older", "soon"], "'--older': must be 30s, 5m, 2h or 1d"),
        (["--newer", "-1h"], "'--newer': must be 30s, 5m, 2h or 1d"),
        (["--look-at", "0"], "--look-at"),
    ],
)
def test_a_wrong_filter_names_its_option_and_what_it_may_be(forebay, options, words):
    code, out, err = forebay("jobs", "list", *options)
    assert (code, out) == (2, "")
    assert words in err


def test_a_list_that_ends_at_its_bound_says_so(forebay, jobs):
    _, _, err = forebay("jobs", "list", "--look-at", "2", "--limit", "1")
    assert "2 jobs, the newest 1 of them shown" in err
    assert "stopped after 2 records: narrow it, or raise --look-at" in err
    _, _, err = forebay("jobs", "list", "--kind", "classify", "--tenant", "acme")
    assert err == "forebay: no jobs of tenant acme of kind classify\n"
    _, _, err = forebay("jobs", "list", "--state", "waiting", "--older", "1d")
    assert err == "forebay: no jobs in state waiting older than 24h\n"


def test_a_job_is_shown_with_all_that_is_known_and_no_content(forebay, jobs):
    code, out, _ = forebay("jobs", "show", jobs["acme"], "--json")
    document = json.loads(out)
    assert (code, document["state"], document["error"]) == (0, "failed", "too_long")
    assert document["receipt"]["error_note"] == "is too long"
    _, out, _ = forebay("jobs", "show", jobs["acme"])
    assert not set("[]{}'") & set(out), "no Python, but words"
    _, out, _ = forebay("jobs", "show", jobs["gamma"])
    assert "state         waiting" in out
    assert CANARY not in out
    assert forebay("jobs", "show", "acme.nothing")[0] == 2


def test_watch_prints_a_job_again_only_when_it_has_changed(forebay, jobs, ledger, monkeypatch):
    def advance(_seconds):
        ledger.claim("route")  # the job of gamma, between the second and the third look

    rounds = iter([int, advance, int])

    def sleep(seconds):
        next(rounds)(seconds)

    monkeypatch.setattr("time.sleep", sleep)
    code, out, _ = forebay("jobs", "watch", "--rounds", "4", "--json")
    seen = [(line["tenant"], line["state"]) for line in map(json.loads, out.splitlines())]
    assert code == 0
    assert sorted(seen[:3]) == [("acme", "failed"), ("beta", "running"), ("gamma", "waiting")]
    assert seen[3:] == [("gamma", "running")]


def test_a_mistyped_code_is_no_empty_list(forebay):
    code, _, err = forebay("jobs", "list", "--code", "bad_anser")
    assert (code, "'--code': did you mean bad_answer?" in err) == (2, True)
    assert forebay("jobs", "list", "--code", "of_an_older_release")[0] == 0


def test_a_narrow_terminal_gets_fewer_columns_and_whole_ids(forebay, jobs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    lines = forebay("jobs", "list")[1].splitlines()
    assert {line.split()[0] for line in lines[1:]} == set(jobs.values())
    assert max(map(len, lines)) <= 80
