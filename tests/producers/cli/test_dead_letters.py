"""The commands about dead letters: over all tenants, by filters, in bulk."""

from __future__ import annotations

import json

import pytest

from forebay.routing.jobs import Classify, Job, Label, Receipt, Summarize

LABELS = [Label(name="a"), Label(name="b")]


def kill(ledger, tenant="default", code="bad_answer", request=None):
    job = Job(tenant=tenant, request=request or Summarize(text="t"))
    ledger.create([job])
    claim = ledger.claim("route")
    receipt = Receipt(
        id=claim.id, kind=claim.record.kind, egress="deny", status="failed", lane="local",
        error=code,
        reasons=("no_answer",),
    )  # fmt: skip
    ledger.settle(claim, receipt)
    return job.id


@pytest.fixture
def dead(ledger):
    """Return the ids of four dead jobs of two tenants, by tenant and code."""
    return {
        ("acme", "bad_answer"): kill(ledger, "acme"),
        ("acme", "too_long"): kill(ledger, "acme", "too_long"),
        ("beta", "too_long"): kill(ledger, "beta", "too_long"),
        ("beta", "x"): kill(ledger, "beta", "x", Classify(text="t", labels=LABELS)),
    }


def test_an_empty_list_says_what_was_looked_for(forebay):
    assert forebay("dead", "list") == (0, "", "forebay: no dead jobs\n")
    _, _, err = forebay("dead", "list", "--tenant", "acme", "--code", "bad_answer")
    assert err == "forebay: no dead jobs of tenant acme with code bad_answer\n"


def test_the_list_has_a_header_and_its_columns_line_up(forebay, ledger):
    ids = {kill(ledger, "acme"), kill(ledger, "acme")}
    code, out, _ = forebay("dead", "list", "--tenant", "acme")
    header, *rows = out.splitlines()
    assert code == 0
    assert header.split() == ["ID", "KIND", "CODE", "HOP", "ATTEMPTS", "ENDED"]
    assert {row.split()[0] for row in rows} == ids
    assert {row[header.index("CODE") :].split()[0] for row in rows} == {"bad_answer"}


def test_the_list_is_over_all_tenants_with_counts_by_code(forebay, dead):
    code, out, err = forebay("dead", "list")
    assert code == 0
    assert {row.split()[0] for row in out.splitlines()[1:]} == set(dead.values())
    assert err == "forebay: 4 dead jobs: too_long 2, bad_answer 1, x 1\n"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--tenant", "beta"], {("beta", "too_long"), ("beta", "x")}),
        (["--code", "too_long"], {("acme", "too_long"), ("beta", "too_long")}),
        (["--kind", "classify"], {("beta", "x")}),
        (["--older", "1m"], set()),
        (["--newer", "1m", "--tenant", "acme"], {("acme", "bad_answer"), ("acme", "too_long")}),
    ],
)
def test_filters_narrow_the_list(forebay, dead, options, wanted):
    _, out, _ = forebay("dead", "list", *options, "--json")
    assert {job["id"] for job in json.loads(out)} == {dead[key] for key in wanted}


def test_counts_are_by_code_tenant_and_kind(forebay, dead):
    _, out, _ = forebay("dead", "list", "--counts", "--json")
    lines = json.loads(out)
    assert {"code": "x", "tenant": "beta", "kind": "classify", "jobs": 1} in lines
    assert sum(line["jobs"] for line in lines) == len(dead)
    _, out, _ = forebay("dead", "list", "--counts", "--limit", "1")
    assert len(out.splitlines()) == 5


def test_replaying_all_replays_what_the_filters_choose_of_every_tenant_once(forebay, dead, ledger):
    code, out, _ = forebay("dead", "replay", "--all", "--code", "too_long", "--json")
    replayed = {one["id"]: one["replayed_as"] for one in json.loads(out)["replayed"]}
    assert code == 0
    assert set(replayed) == {dead["acme", "too_long"], dead["beta", "too_long"]}
    assert {ledger.record(new).state for new in replayed.values()} == {"waiting"}
    assert {new.partition(".")[0] for new in replayed.values()} == {"acme", "beta"}
    assert json.loads(forebay("dead", "replay", "--all", "--code", "too_long", "--json")[1]) == {
        "replayed": [], "failed": [],
    }  # fmt: skip


def test_that_nothing_was_found_is_said(forebay, dead):
    code, out, err = forebay("dead", "replay", "--all", "--code", "engine_died")
    assert (code, out, err) == (0, "", "forebay: 0 dead jobs with code engine_died replayed\n")
    _, out, err = forebay("dead", "list", "--counts", "--code", "engine_died")
    assert (out, err) == ("", "forebay: no dead jobs with code engine_died\n")


def test_burying_all_asks_for_a_yes_and_then_buries_what_the_filters_choose(forebay, dead, redis):
    code, out, err = forebay("dead", "bury", "--all", "--tenant", "acme")
    assert (code, out) == (2, "")
    assert "would bury 2 dead jobs of tenant acme for ever; repeat it with --yes" in err
    assert redis.exists(f"fb:job:{dead['acme', 'too_long']}")
    code, out, _ = forebay("dead", "bury", "--all", "--tenant", "acme", "--yes")
    assert code == 0
    assert set(out.split()) == {dead["acme", "bad_answer"], dead["acme", "too_long"]}
    assert not redis.exists(f"fb:job:{dead['acme', 'too_long']}")
    assert redis.exists(f"fb:job:{dead['beta', 'x']}")


def test_one_that_cannot_be_replayed_stops_no_other(forebay, dead, redis):
    redis.delete(f"fb:content:{dead['acme', 'too_long']}")
    code, out, _ = forebay("dead", "replay", "--all", "--json")
    document = json.loads(out)
    assert code == 1
    assert [one["code"] for one in document["failed"]] == ["invalid_job"]
    assert len(document["replayed"]) == 3


@pytest.mark.parametrize("verb", ["replay", "bury"])
@pytest.mark.parametrize("args", [[], ["acme.1", "--all"], ["acme.1", "--code", "x"]])
def test_either_an_id_or_all_is_wanted(forebay, verb, args):
    code, _, err = forebay("dead", verb, *args)
    assert code == 2
    assert "give either an ID, or --all" in err


def test_a_wrong_change_names_its_option(forebay, ledger):
    code, _, err = forebay("dead", "replay", kill(ledger), "--priority", "soon")
    assert (code, err) == (2, "forebay: invalid_job: --priority: must be interactive or bulk\n")
