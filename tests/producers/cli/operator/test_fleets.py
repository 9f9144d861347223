"""The commands of an operator over two fleets: they add them up, look at one, or move a tenant."""

from __future__ import annotations

import json

import pytest

from forebay.routing.fleets import opening
from forebay.routing.jobs import Summary, new_id
from forebay.routing.limits.budget import Budget
from local.fleet import free_port
from working import ask, settle


@pytest.fixture
def two(two, monkeypatch):
    two.write('acme = "west"\npayroll = "east"')
    monkeypatch.setenv("FOREBAY_FLEETS", str(two.path))
    return two


@pytest.fixture
def jobs(two):
    """Put a failed and a waiting job into each fleet; return their ids by fleet."""
    found = {}
    for tenant, fleet in (("acme", "west"), ("payroll", "east")):
        with two.client(tenant) as client:
            dead, waiting = client.submit(ask("bad")), client.submit(ask())
        settle(two.ledger(fleet), two.ledger(fleet).claim("route"))
        budget = Budget(two.redis[fleet])
        budget.reserve(f"call-{fleet}", new_id(tenant), tenant, 10**9, term_s=60)
        budget.settle(f"call-{fleet}", 10**9)
        found[fleet] = (dead, waiting)
    return found


def told(forebay, *args):
    code, out, err = forebay(*args, "--json")
    assert code == 0, err
    return json.loads(out)


def test_lists_add_the_fleets_up_or_show_one(forebay, jobs):
    every = {job for ids in jobs.values() for job in ids}
    assert {job["id"] for job in told(forebay, "jobs", "list")["jobs"]} == every
    assert {job["id"] for job in told(forebay, "jobs", "list", "--fleet", "west")["jobs"]} == {
        *jobs["west"]
    }
    assert {job["id"] for job in told(forebay, "dead", "list")} == {ids[0] for ids in jobs.values()}
    assert told(forebay, "jobs", "show", jobs["east"][1])["state"] == "waiting"
    assert told(forebay, "status", jobs["east"][1])["state"] == "waiting"


def test_money_and_queues_add_up(forebay, jobs):
    assert len(told(forebay, "spend", "list")["calls"]) == 2
    assert len(told(forebay, "spend", "list", "--fleet", "east")["calls"]) == 1
    now = told(forebay, "status")
    assert now["spent_usd"] == {"*": 2.0, "acme": 1.0, "payroll": 1.0}
    assert [
        line["waiting"]["interactive"] for line in now["queues"] if line["queue"] == "route"
    ] == [2]
    assert told(forebay, "report", "--frontier", "anthropic.claude-haiku-5-5")["paid_usd"] == 2.0


def test_top_adds_the_fleets_up_and_says_which_it_cannot_reach(forebay, jobs, two):
    now = told(forebay, "top")
    waiting = [line["waiting"]["interactive"] for line in now["queues"] if line["queue"] == "route"]
    assert (waiting, now["spent_usd"]["*"], now["fleets_unreached"]) == ([2], 2.0, [])
    assert sum(each["jobs"] for each in now["dead"]) == 2
    assert told(forebay, "top", "--fleet", "west")["spent_usd"]["*"] == 1.0
    gone = f"redis://127.0.0.1:{free_port()}/0"
    two.path.write_text(two.path.read_text().replace(two.urls["east"], gone))
    opening.map_file.cache_clear()  # each command reads the map in a process of its own
    now = told(forebay, "status")
    assert (now["fleets_unreached"], now["spent_usd"]["*"]) == (["east"], 1.0)
    assert "cannot be reached, and not counted: east" in forebay("status")[1]
    code, _, err = forebay("report")  # half of a sum of money would be wrong
    assert (code, gone in err) == (1, True)


def test_a_command_about_one_fleet_asks_for_it(forebay, two):
    code, _, err = forebay("pause", "bedrock")
    assert code == 2
    assert "--fleet: is needed, this is about one fleet of east, west" in err
    assert forebay("pause", "bedrock", "--fleet", "east")[0] == 0
    assert two.redis["east"].hkeys("fb:paused") == [b"lane:bedrock"]
    code, _, err = forebay("pause", "bedrock", "--fleet", "north")
    assert code == 2
    assert "must be one of east, west, not north" in err


def test_keys_are_made_in_the_fleet_of_the_tenant(forebay, two):
    made = told(forebay, "keys", "create", "--tenant", "payroll")
    assert two.redis["east"].hkeys("fb:keys") == [made["id"].encode()]
    assert [key["id"] for key in told(forebay, "keys", "list")] == [made["id"]]
    assert [key["id"] for key in told(forebay, "keys", "list", "--fleet", "east")] == [made["id"]]
    assert told(forebay, "keys", "list", "--fleet", "west") == []
    assert told(forebay, "tenants", "move", "payroll", "west") == {
        "tenant": "payroll", "fleet": "west",
    }  # fmt: skip
    assert two.redis["west"].hkeys("fb:keys") == [made["id"].encode()]
    assert forebay("keys", "revoke", made["id"])[0] == 0
    assert told(forebay, "keys", "list") == []


def test_a_tenant_is_moved_and_the_commands_say_how_far(forebay, two):
    assert told(forebay, "tenants", "list") == {
        "default": "west", "fleets": {"east": ["payroll"], "west": ["acme"]},
    }  # fmt: skip
    with two.client() as client:
        job = client.submit(ask())
        plan = told(forebay, "tenants", "move", "acme", "east", "--dry-run")
        assert (plan["steps"][0], plan["waits"]) == ("hold", "1 waiting")
        code, _, err = forebay("tenants", "move", "acme", "east", "--timeout", "0")
        assert code == 1
        assert "still under way in fleet west: 1 waiting" in err
        moving = told(forebay, "tenants", "move", "acme", "--status")["moving"]
        assert (moving["step"], moving["waiting"]) == ("drain", 1)
        assert forebay("tenants", "where", "acme")[1] == "east west\n"
        settle(two.ledger("west"), two.ledger("west").claim("route"))
        assert forebay("tenants", "move", "acme", "east")[1] == "acme has moved: east\n"
        assert client.result(job, timeout=10).content == Summary(text="HELLO")
    assert forebay("tenants", "move", "acme", "east")[1] == "acme is there already: east\n"
    assert told(forebay, "tenants", "move", "acme", "--status")["moving"] is False


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("move", "acme", "north"), "fleet: must be one of east, west, not north"),
        (("move", "acme"), "FLEET: is missing"),
        (("move", "Acme!", "east"), "tenant: "),
        (("move", "acme", "--undo"), "is not being moved"),
    ],
)
def test_a_mistake_is_one_clear_error(forebay, two, args, words):
    code, _, err = forebay("tenants", *args)
    assert code == 2
    assert words in err


def test_without_a_map_there_are_no_fleets(forebay):
    code, _, err = forebay("tenants", "list")
    assert code == 2
    assert "FOREBAY_FLEETS: is not set" in err
