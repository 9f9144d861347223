"""A full Redis still takes what makes room in it, or stops who fills it."""

from __future__ import annotations

import pytest

from forebay.routing.bulk.bulks import Bulks
from forebay.routing.errors import Unavailable
from forebay.routing.ledger.ends import ends_key, listening_key
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.limits.pauses import Pauses
from forebay.routing.overview.orders import Orders
from forebay.routing.settings import Settings
from ledger_jobs import BELL, job, put

BULK = f"acme.{0:032x}"


@pytest.fixture
def ledger(redis):
    made = Ledger(redis, Settings(), BELL)
    made.load_scripts()
    yield made
    redis.config_set("maxmemory", 0)


def fill(redis):
    redis.config_set("maxmemory", 1)
    redis.config_set("maxmemory-policy", "noeviction")


def test_operators_pause_and_drain_while_memory_is_full(ledger, redis):
    fill(redis)
    Pauses(redis).pause("tenant:acme", "fills Redis")
    Orders(redis).scale("local1@host", 2)
    Orders(redis).drain("local1@host")
    assert {pause.scope for pause in Pauses(redis).all()} == {"tenant:acme", "worker:local1@host"}
    assert Orders(redis).of("local1@host").hands == 2
    assert Pauses(redis).resume("tenant:acme")


def test_a_bulk_is_cancelled_and_jobs_are_forgotten_while_memory_is_full(ledger, redis):
    bulks = Bulks(ledger)
    bulks.create(BULK, {}, None)
    redis.set(listening_key("acme"), "1")
    (waiting,) = put(ledger, job("acme"))
    fill(redis)
    assert bulks.set_state(BULK, "paused").state == "paused"
    assert bulks.set_state(BULK, "cancelled").state == "cancelled"
    told = [entry for _, entry in redis.xrange(ends_key("acme"))]
    assert told == [{b"id": BULK.encode(), b"state": b"cancelled", b"what": b"bulk"}]
    assert ledger.cancel(waiting)
    assert ledger.forget(waiting)
    (refused,) = ledger.create([job("acme")])
    assert isinstance(refused, Unavailable)
