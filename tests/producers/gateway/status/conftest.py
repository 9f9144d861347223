"""A gateway over a Redis of its own, without workers: tests put jobs there and end them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
import redis as redis_py

from forebay.producers.gateway.api_keys import KeyStore
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import BELL
from local.fleet import Fleet, free_port
from status_site import Site

SETTINGS = {"FOREBAY_STATUS_REPLAY": "true", "FOREBAY_STATUS_SECRET": "of the tests " * 2}


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Site]:
    with Fleet(tmp_path_factory.mktemp("site"), SETTINGS) as fleet:
        fleet.start_redis()
        fleet.start("gateway", PORT=str(free_port()))
        fleet.wait_ready()
        with redis_py.Redis.from_url(fleet.url) as client:
            ledger = Ledger(client, Settings(redis_url=fleet.url), BELL)
            ledger.load_scripts()
            site = Site(fleet, client, ledger, KeyStore(client))
            for tenant in ("acme", "beta"):  # a page finds tenants that are new in 15 s only
                site.dead_job(tenant)
            yield site


@pytest.fixture
def operator(site) -> Iterator[httpx2.Client]:
    """Return a client signed in with a key that sees all tenants and may act."""
    with site.browse(site.key("ops", "operator", "admin")) as client:
        yield client
