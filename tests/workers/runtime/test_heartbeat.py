"""A worker notices with its heartbeat that Redis came back without its data."""

from __future__ import annotations

import logging
import time

import pytest

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.overview.workers import Workers, emptied_at
from forebay.routing.settings import Settings
from forebay.workers.runtime.claims.in_flight import InFlight
from forebay.workers.runtime.heartbeat import Heartbeat
from ledger_jobs import BELL


@pytest.fixture
def heartbeat(redis):
    made = Heartbeat(Ledger(redis, Settings(), BELL), lambda: ["route"], InFlight(1), lambda: True)
    made._worker = "router1@here"  # as `start` does, without its thread
    return made


def lost(caplog):
    return [line.message for line in caplog.records if line.event == "redis.emptied"]


def test_the_loss_of_all_data_is_logged_once_and_told_with_each_heartbeat(heartbeat, redis, caplog):
    with caplog.at_level(logging.ERROR):
        heartbeat._tell()
        heartbeat._tell()
        assert (emptied_at(Workers(redis).all()), lost(caplog)) == (0.0, [])
        redis.flushall()
        time.sleep(0.005)  # an age of other data differs by a millisecond at least
        for _ in range(3):
            heartbeat._tell()
    assert lost(caplog) == [
        "Redis lost its data: all jobs, answers, keys and books from before are gone"
    ]
    assert emptied_at(Workers(redis).all()) == pytest.approx(redis.time()[0], abs=5)


def test_a_heartbeat_that_may_not_know_the_age_of_the_data_goes_on(heartbeat, redis, caplog):
    heartbeat._tell()
    redis.set("fb:born", "")
    heartbeat._tell()
    assert lost(caplog) == []
