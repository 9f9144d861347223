"""A worker tells what it is and does, and does as an operator orders: drain, resume, scale."""

from __future__ import annotations

import time

import pytest

import forebay
from forebay.producers.cli.main import run
from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.overview.orders import Orders
from forebay.routing.overview.workers import Workers
from forebay.routing.policy.policy_file import Policy
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from local.fleet import Fleet
from patience import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet_of_two(tmp_path_factory):
    """Run a fleet with two local workers of two slots each; return it with the names of the two."""
    with Fleet(tmp_path_factory.mktemp("orders"), {"FOREBAY_SWEEP_S": "0.2"}) as fleet:
        fleet.start_redis()
        for part in ("router", "sweeper"):
            fleet.start(part)
        for _ in range(2):
            fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS="2")
        fleet.wait_ready()
        client = connect(Settings(redis_url=fleet.url))
        until(lambda: len(Workers(client).all()) == 4, 20)
        names = [w.status.name for w in Workers(client).all() if w.status.name.startswith("local")]
        yield fleet, client, sorted(names)
        client.close()


def slow(count, seconds=0.1):
    text = f"[[echo: delay={seconds}]] one two three four"
    return [Generate(messages=[Message(role="user", content=f"{text} {i}")]) for i in range(count)]


def seen(client, name):
    return Workers(client).named(name)


def test_a_worker_tells_what_it_is(fleet_of_two):
    _, client, (first, _) = fleet_of_two
    worker = seen(client, first)
    status = worker.status
    assert (status.queues, status.engine, status.model) == (
        ("local.default", "embed"),
        "echo",
        "echo",
    )
    assert (status.slots, status.threads, status.hands, worker.state) == (2, 6, 6, "idle")
    assert (status.version, status.policy) == (forebay.__version__, Policy().version)
    assert status.reserve >= 2
    assert status.host in first
    assert worker.age_s > worker.seen_s < 5
    assert Workers(client).slots() == {"embed": 4, "local.default": 4, "route": 1, "sweep": 1}


def test_a_drained_worker_takes_no_jobs_until_it_is_resumed(fleet_of_two, monkeypatch):
    fleet, client, (first, second) = fleet_of_two
    monkeypatch.setenv("FOREBAY_REDIS_URL", fleet.url)
    assert run(["workers", "drain", first, "--reason", "new card"]) == 0
    until(lambda: seen(client, first).state == "drained", 20)
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as jobs:
        done = list(jobs.map(slow(12), timeout=60))
    assert len(done) == 12
    until(lambda: seen(client, second).status.jobs_minute >= 12, 20)
    assert seen(client, first).status.jobs_minute == 0
    assert Workers(client).slots()["local.default"] == 2
    assert run(["workers", "resume", first]) == 0
    until(lambda: seen(client, first).state == "idle", 20)
    assert run(["workers", "drain", second]) == 0
    until(lambda: seen(client, second).state == "drained", 20)
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as jobs:
        assert jobs.run(slow(1)[0], timeout=60)
    until(lambda: seen(client, first).status.jobs_minute == 1, 20)
    Orders(client).resume(second)
    until(lambda: seen(client, second).state == "idle", 20)


def test_a_scaled_worker_holds_no_more_jobs_than_it_was_told(fleet_of_two, monkeypatch):
    fleet, client, (first, second) = fleet_of_two
    monkeypatch.setenv("FOREBAY_REDIS_URL", fleet.url)
    Orders(client).drain(second)
    assert run(["workers", "scale", first, "1"]) == 0
    until(lambda: seen(client, first).status.hands == 1, 20)
    until(lambda: seen(client, second).state == "drained", 20)
    time.sleep(1.5)  # the consumer's loop comes round once a second
    with Client(settings=Settings(redis_url=fleet.url), tenant="acme") as jobs:
        futures = [jobs.submit_future(request) for request in slow(6)]
        busiest = 0
        while not all(future.done() for future in futures):
            busiest = max(busiest, client.zcard("fb:leases"))
            time.sleep(0.02)
    assert 1 <= busiest <= 2  # one with the local worker; the router may hold another
    assert run(["workers", "scale", first, "6"]) == 0
    Orders(client).resume(second)
    until(lambda: seen(client, first).status.hands == 6, 20)
