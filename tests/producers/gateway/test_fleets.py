"""A gateway over two fleets, before, while and after a tenant is moved."""

from __future__ import annotations

import threading
import time

import pytest
from starlette.testclient import TestClient

from forebay.producers.gateway.api_keys import KeyStore
from forebay.producers.gateway.server.app import create_app
from forebay.producers.gateway.settings import GatewaySettings
from forebay.routing.fleets import fence
from forebay.routing.fleets.moving.move import Move, plan
from working import settle

pytestmark = pytest.mark.slow


@pytest.fixture
def gateway(two, tmp_path):
    settings = GatewaySettings(gateway_files=tmp_path / "files", gateway_grace_s=1)
    _, token = KeyStore(two.redis["west"]).create("acme", scopes=("submit", "read", "admin"))
    with TestClient(
        create_app(settings, two.settings), headers={"authorization": f"Bearer {token}"}
    ) as client:
        yield client


def put_on(gateway, text):
    reply = gateway.post("/jobs", json={"kind": "summarize", "text": text})
    assert reply.status_code < 300, reply.text
    return reply.json()["id"]


def end_next(two, fleet):
    settle(two.ledger(fleet), two.ledger(fleet).claim("route"))


def test_the_gateway_follows_its_tenant(gateway, two):
    before = put_on(gateway, "before")
    hook = gateway.post("/webhooks", json={"url": "https://example.com/hook"}).json()["id"]
    fleets = two.fleets()
    at = plan(fleets, "acme", "east")
    mover = threading.Thread(target=Move(fleets, "acme", at, lambda *_: None).run, args=(60,))
    mover.start()
    while (found := fence.read(two.redis["west"], "acme")) is None or found.phase != "draining":
        time.sleep(0.05)
    time.sleep(0.6)  # the map is looked at twice a second
    during = put_on(gateway, "during")
    assert two.redis["east"].exists(f"fb:job:{during}")
    assert gateway.get(f"/jobs/{before}").json()["status"]["state"] == "waiting"
    assert [one["id"] for one in gateway.get("/webhooks").json()["webhooks"]] == [hook]
    end_next(two, "west")
    end_next(two, "east")
    mover.join(60)
    time.sleep(0.6)
    for job in (before, during):
        assert gateway.get(f"/jobs/{job}").json()["status"]["state"] == "done"
    assert [one["id"] for one in gateway.get("/webhooks").json()["webhooks"]] == [hook]
    assert gateway.get("/tenants/me").json()["tenant"] == "acme"
