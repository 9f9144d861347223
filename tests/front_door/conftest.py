"""A scripted fleet that the tests of a module share, and a client of it."""

from __future__ import annotations

import pytest

from forebay import testing


@pytest.fixture(scope="module")
def shared():
    with testing.fleet() as fleet:
        yield fleet


@pytest.fixture
def fleet(shared):
    """The fleet of this module, without a script."""
    shared.reset()
    return shared


@pytest.fixture
def client(fleet):
    with fleet.client() as client:
        yield client
