"""Producers may run the fleet's scripts and not load them: they wait until the fleet has."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.producers.client import Client
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store import scripts
from ledger_jobs import BELL, job, put

pytestmark = pytest.mark.slow

WAIT_S = 0.5


@pytest.fixture
def forgetful(users):
    """Return the users of a Redis that was restarted: it knows no script."""
    users.empty()
    users["operator"].script_flush()
    return users


@pytest.fixture
def producer(forgetful):
    return Ledger(forgetful["producer-acme"], Settings(), BELL)


def test_a_producer_waits_until_the_fleet_has_loaded_the_scripts(forgetful, producer):
    with ThreadPoolExecutor() as pool:
        made = pool.submit(producer.create, [job() for _ in range(50)])
        time.sleep(WAIT_S)
        assert not made.done()
        sweeper = Ledger(forgetful["sweeper"], Settings(), BELL)
        sweeper.sweep()
        assert len(set(made.result(timeout=5))) == 50
    assert sweeper.depths() == {"route": 50}


def test_a_producer_says_what_to_start_if_nobody_loads_them(producer, monkeypatch):
    monkeypatch.setattr(scripts, "LOADING_S", WAIT_S)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="start a worker or a sweeper of the same version"):
        producer.create([job()])
    assert time.monotonic() - began >= WAIT_S


def test_each_call_of_a_producer_waits(forgetful, producer):
    fleet = Ledger(forgetful["worker"], Settings(), BELL)
    fleet.load_scripts()
    (job_id,) = put(producer, job())
    calls = (
        lambda: producer.status(job_id).state,
        lambda: producer.watch(job_id, "fb:wake:acme:1"),
        lambda: producer.cancel(job_id),
        lambda: producer.forget(job_id),
    )
    for call, reply in zip(calls, ("waiting", "waiting", True, True), strict=True):
        forgetful["operator"].script_flush()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(call)
            time.sleep(0.15)
            assert not waiting.done()
            fleet.load_scripts()
            assert waiting.result(timeout=5) == reply


@pytest.mark.parametrize("user", ["worker", "sweeper", "operator"])
def test_the_fleet_loads_what_it_needs_by_itself(forgetful, user):
    ledger = Ledger(forgetful[user], Settings(), BELL)
    put(ledger, job())
    assert ledger.depths() == {"route": 1}


def test_a_producer_that_met_no_scripts_submits_once_they_are_there(forgetful, monkeypatch):
    monkeypatch.setattr(scripts, "LOADING_S", 0.2)
    settings = Settings(redis_url=forgetful.urls["producer-acme"])
    with Client(tenant="acme", settings=settings) as client:
        with pytest.raises(Unavailable):
            client.submit(Summarize(text="We met at noon."))
        Ledger(forgetful["worker"], Settings(), BELL).load_scripts()
        assert client.status(client.submit(Summarize(text="We met at noon."))).state == "waiting"
