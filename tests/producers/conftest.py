"""Fixtures for tests of clients: an empty Redis, and a client of the tenant `acme`."""

from __future__ import annotations

import pytest

from forebay.producers.client import Client
from forebay.routing.settings import Settings


@pytest.fixture
def settings(redis, redis_url):
    return Settings(redis_url=redis_url)


@pytest.fixture
def client(settings):
    with Client(tenant="acme", settings=settings) as client:
        yield client
