"""The client of tests of bulks, whose shards a fleet in this process answers."""

from __future__ import annotations

import pytest

from forebay.producers.client import Client


@pytest.fixture
def client(lanes, answering):
    with Client(tenant="acme", redis=lanes.redis, settings=lanes.ledger.settings) as made:
        yield made
