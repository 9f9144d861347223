"""`forebay doctor` over two fleets: it checks each, and what the map, fences and moves say."""

from __future__ import annotations

import json
import time

import pytest
from starlette.testclient import TestClient

from forebay.producers.cli import doctor
from forebay.producers.cli.operator import checks, readers
from forebay.producers.gateway.server.app import create_app
from forebay.producers.gateway.settings import GatewaySettings
from forebay.routing.diagnostics import examine
from forebay.routing.fleets import fence, followed_maps
from forebay.routing.fleets.fence import Fence
from forebay.routing.fleets.moving import state
from forebay.routing.limits.pauses import Pauses
from forebay.routing.settings import Settings
from local.fleet import free_port
from patience import until
from two_fleets import MAP
from working import ask


@pytest.fixture
def two(two, monkeypatch):
    two.write('acme = "west"')
    monkeypatch.setenv("FOREBAY_FLEETS", str(two.path))
    return two


def found():
    """Run the checks of this side; return state, what was seen, and the mend, by name."""
    readers.chosen.set(None)  # as each command line does
    findings = examine([*doctor.probes(), *checks.probes()])
    return {each.name: (each.state, each.seen, each.mend) for each in findings}


def test_each_fleet_is_checked_or_the_one_that_is_named(two, forebay):
    Pauses(two.redis["west"]).pause("tenant:acme", "by hand")
    every = found()
    assert every["fleets"][:2] == (
        "ok", f"{two.path}: east, west; 1 tenant named, others in west",
    )  # fmt: skip
    assert {every[f"{name}: redis"][0] for name in two.urls} == {"ok"}
    assert every["west: paused"][2] == "forebay resume tenant:acme --fleet west"
    assert "east: paused" not in every
    _, out, _ = forebay("doctor", "--json", "--fleet", "east")
    named = [each["name"] for each in json.loads(out)["checks"]]
    assert "east: leases" in named
    assert [name for name in named if name.startswith("west") or name == "leases"] == []


def test_an_unknown_fleet_is_one_error(two, forebay):
    code, out, err = forebay("doctor", "--fleet", "north")
    assert (code, out) == (2, "")
    assert "--fleet: must be one of east, west, not north" in err


def test_a_fleet_cannot_be_named_without_a_map(forebay, monkeypatch):
    monkeypatch.delenv("FOREBAY_FLEETS", raising=False)
    code, out, err = forebay("doctor", "--fleet", "east")
    assert (code, out) == (2, "")
    assert "FOREBAY_FLEETS: is needed with --fleet" in err


def test_a_fleet_that_cannot_be_reached_is_named_and_the_others_are_checked(two):
    address = f"redis://127.0.0.1:{free_port()}/0"
    two.path.write_text(MAP.format(west=two.urls["west"], east=address))
    told = found()
    state_, _, mend = told["east: redis"]
    assert state_ == "fail"
    assert "[fleets.east] redis_url" in mend
    assert told["west: redis"][0] == "ok"


def test_a_tenant_in_a_fleet_that_does_not_exist_is_one_finding(two):
    two.write('acme = "nroth"')
    told = found()
    assert told["fleets"][0] == "fail"
    assert "[tenants] acme names nroth" in told["fleets"][1]
    assert [name for name, (how, *_) in told.items() if how == "fail"] == ["fleets"]


def test_a_fence_in_the_fleet_of_the_map_is_found_with_the_line_to_write(two):
    with two.client("beta") as client:  # the map does not name it
        client.submit(ask())
    two.ledger("west").claim("route")
    for tenant in ("acme", "beta"):
        fence.put(two.redis["west"], tenant, Fence("east", "carried"))
    told = found()
    for tenant in ("acme", "beta"):
        how, seen, mend = told[f"tenant {tenant}"]
        assert (how, "west, which refuses its jobs: it has moved to east" in seen) == ("fail", True)
        assert f'write `{tenant} = "east"` into the map' in mend


def test_the_fence_of_a_fleet_that_a_tenant_has_left_is_as_it_should_be(two):
    two.write('acme = "east"')
    fence.put(two.redis["west"], "acme", Fence("east", "carried"))
    assert "tenant acme" not in found()


def test_a_move_under_way_is_a_warning_and_an_old_map_fails(two):
    two.write('acme = ["east", "west"]')
    how, seen, mend = found()["tenant acme"]
    assert (how, seen) == ("fail", "the map names east and west, and no move is under way")
    assert mend.startswith("forebay tenants move acme east")
    at = state.begin("west", "east")
    state.write(two.redis["west"], "acme", at)
    assert found()["tenant acme"][0] == "warn"
    moved = state.MoveState(at.id, "west", "east", "drain", time.time())
    state.write(two.redis["west"], "acme", moved)
    how, seen, mend = found()["tenant acme"]
    assert (how, seen.split(" since ")[0], seen.rpartition(" ")[2]) == (
        "warn", "moves from west to east", "drain",
    )  # fmt: skip
    two.write('acme = "west"')
    how, _, mend = found()["tenant acme"]
    assert (how, mend) == ("fail", 'write `acme = ["east", "west"]` into the map')


def test_gateways_that_follow_another_map_are_found(two, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(two.path.read_text())
    settings = GatewaySettings(gateway_files=tmp_path / "files", gateway_grace_s=1)
    with TestClient(create_app(settings, Settings(fleets=other))):
        until(lambda: followed_maps.followed(two.redis["east"]))
        assert found()["map of gateways"][:2] == ("ok", "all 1 follow the map of this shell")
        two.write('acme = "east"')
        how, seen, _ = found()["map of gateways"]
        assert how == "fail"
        assert seen.endswith(f"than this shell: {followed_maps.this_process()}")
        other.write_text(two.path.read_text())
        until(lambda: found()["map of gateways"][0] == "ok")


def test_a_gateway_that_has_ended_or_wrote_nonsense_follows_no_map(two):
    east = two.redis["east"]
    now = east.time()[0]
    east.hset(followed_maps.KEY, mapping={
        "old:1": json.dumps({"version": "v", "at": now - 100}), "bad:1": "{", "worse:1": "7",
        "here:1": json.dumps({"version": "v", "at": now}),
    })  # fmt: skip
    assert followed_maps.followed(east) == [("here:1", "v")]
