"""The page over two fleets: it adds them up, follows the map, and says what it cannot reach."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from forebay.producers.gateway.api_keys import KeyStore
from forebay.producers.gateway.server.app import create_app
from forebay.producers.gateway.settings import GatewaySettings
from forebay.producers.gateway.status import page as status_page
from forebay.routing.fleets import map_file
from forebay.routing.jobs import new_id
from forebay.routing.limits.budget import Budget
from forebay.routing.limits.pauses import Pauses
from local.fleet import free_port
from two_fleets import MAP
from working import ask, settle

pytestmark = pytest.mark.slow


@pytest.fixture
def two(two, monkeypatch):
    monkeypatch.setattr(status_page, "EVERY_S", 0.0)
    monkeypatch.setattr(map_file.MapFile, "look_every_s", 0.0)
    two.write('acme = "west"\npayroll = "east"')
    return two


@pytest.fixture
def dead(two):
    """Put jobs into both fleets; return the ids of the failed."""
    return [busy(two, "acme", "west"), busy(two, "payroll", "east")]


@pytest.fixture
def words(two, dead, tmp_path):
    """Return what reads the page's words, as an operator sees them."""
    settings = GatewaySettings(gateway_files=tmp_path / "files", gateway_grace_s=1)
    _, key = KeyStore(two.redis["west"]).create("ops", scopes=("operator",))
    with TestClient(
        create_app(settings, two.settings), base_url="https://testserver",
        headers={"accept": "text/html"},
    ) as client:  # fmt: skip
        assert client.post("/status/sign-in", data={"key": key}).status_code == 200

        def read():
            reply = client.get("/status")
            assert reply.status_code == 200, reply.text
            return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", reply.text)).split())

        yield read


def busy(two, tenant, fleet):
    """Put a job that fails and one that waits into a fleet, and spend a dollar."""
    with two.client(tenant) as client:
        dead, _ = client.submit(ask("bad")), client.submit(ask())
    settle(two.ledger(fleet), two.ledger(fleet).claim("route"))
    budget = Budget(two.redis[fleet])
    budget.reserve(f"call-{fleet}", new_id(tenant), tenant, 10**9, term_s=60)
    budget.settle(f"call-{fleet}", 10**9)
    return dead


def test_the_page_adds_the_fleets_up(two, dead, words):
    Pauses(two.redis["east"]).pause("lane:bedrock", "by hand")
    page = words()
    assert "No worker serves route, where 2 jobs wait" in page
    assert all(job[:-24] in page for job in dead)  # ids are shown shortened
    assert "$2.00" in page
    assert "forebay resume lane:bedrock --fleet east" in page


def test_a_fleet_that_is_away_is_named_and_comes_back(two, words):
    assert "cannot be reached" not in words()
    gone = f"redis://127.0.0.1:{free_port()}/0"
    two.path.write_text(MAP.format(west=two.urls["west"], east=gone))
    page = words()
    assert "The fleet east cannot be reached, and is not counted here" in page
    assert "No worker serves route, where 1 job waits" in page
    two.write('payroll = "east"')
    assert "cannot be reached" not in words()
