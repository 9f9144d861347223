"""Workers are known by their heartbeats: for an hour, unless they end in order."""

from __future__ import annotations

import time

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.ledger.worker_status import WorkerStatus
from forebay.routing.overview.orders import Order, Orders
from forebay.routing.overview.workers import ALIVE_S, Workers
from forebay.routing.settings import Settings
from ledger_jobs import BELL


@pytest.fixture
def tell(redis):
    """Return what writes a heartbeat of a worker."""
    ledger = Ledger(redis, Settings(), BELL)

    def tell(name="local1@here", for_s=10.0, **fields):
        known = {"queues": ("local.default",), "slots": 4, "started": time.time() - 60, **fields}
        about = WorkerStatus(name=name, **known).model_dump_json()
        ledger.serve(name, known["queues"], for_s, about)

    return tell


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "idle"),
        ({"busy": 2}, "working"),
        ({"busy": 2, "drained": True}, "drained"),
        ({"well": False}, "stuck"),
    ],
)
def test_a_worker_is_in_the_state_that_its_heartbeat_says(redis, tell, fields, state):
    tell(**fields)
    (worker,) = Workers(redis).all()
    assert (worker.state, worker.status.name) == (state, "local1@here")
    assert 59 < worker.age_s < 120
    assert worker.seen_s < 5


def test_a_worker_whose_heartbeat_stopped_is_gone_and_has_no_slots(redis, tell):
    tell("local1@here")
    tell("local2@here", drained=True)
    tell("local3@here", busy=1, queues=("local.default", "embed"))
    redis.zincrby("fb:workers", -1000 * (ALIVE_S + 1), "local1@here")
    states = {worker.status.name: worker.state for worker in Workers(redis).all()}
    assert states == {"local1@here": "gone", "local2@here": "drained", "local3@here": "working"}
    assert Workers(redis).slots() == {"local.default": 4, "embed": 4}


def test_a_worker_that_ends_in_order_is_forgotten_and_so_is_one_gone_for_an_hour(redis, tell):
    tell("local1@here")
    tell("local2@here")
    Ledger(redis, Settings(), BELL).serve("local1@here", ["local.default"], 0)
    assert [worker.status.name for worker in Workers(redis).all()] == ["local2@here"]
    redis.zincrby("fb:workers", -3_601_000, "local2@here")
    tell("local3@here")
    assert [worker.status.name for worker in Workers(redis).all()] == ["local3@here"]


def test_what_another_version_writes_of_itself_is_read_and_what_is_damaged_is_left_out(redis):
    ledger = Ledger(redis, Settings(), BELL)
    ledger.serve("new@here", ["route"], 10, '{"name": "new@here", "queues": ["route"], "more": 1}')
    ledger.serve("bad@here", ["route"], 10, '{"name"')
    assert [worker.status.name for worker in Workers(redis).all()] == ["new@here"]


def test_orders_are_held_for_a_name_until_they_are_taken_back(redis):
    orders = Orders(redis)
    assert orders.of("local1@here") == Order(drained=False, hands=None)
    orders.drain("local1@here", "new card")
    orders.scale("local1@here", 3)
    assert orders.of("local1@here") == Order(drained=True, hands=3)
    assert orders.of("local2@here") == Order()
    assert orders.resume("local1@here")
    assert not orders.resume("local1@here")
    orders.scale("local1@here", None)
    assert orders.of("local1@here") == Order()
