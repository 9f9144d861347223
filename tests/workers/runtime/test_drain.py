"""Draining: in order, in a hurry, and with an engine that hangs."""

from __future__ import annotations

import signal
import time

import pytest

from forebay.producers.client import Client
from forebay.routing.jobs import Generate, Message
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.workers.local import JOBS_PER_SLOT, SHARDS_AT_ONCE
from forebay.workers.runtime import drain
from forebay.workers.runtime.claims.in_flight import InFlight
from ledger_jobs import BELL
from local.fleet import Fleet
from patience import slowdown, until

pytestmark = pytest.mark.slow

SLOW = "[[echo: delay=0.2]] one two three four five"  # about a second
ENGINE = {"FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "8"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet without local workers; each test starts its own."""
    with Fleet(tmp_path_factory.mktemp("drain")) as fleet:
        fleet.start_redis()
        for part in ("router", "sweeper"):
            fleet.start(part)
        yield fleet


@pytest.fixture
def client(fleet):
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        yield client
    for proc in fleet.procs:
        if proc.name.startswith("local"):
            fleet.kill(proc)


@pytest.mark.parametrize("broken", ["withdraw", "queues"])
def test_the_process_ends_whatever_breaks(redis, monkeypatch, broken):
    def breaks():
        raise RuntimeError("broken")

    ended, ledger = [], Ledger(redis, Settings(), BELL)
    works = {"withdraw": lambda: None, "queues": list} | {broken: breaks}
    monkeypatch.setattr(drain.os, "_exit", ended.append)
    leaving = drain.Drain(ledger, InFlight(1), 0.0, works["withdraw"], works["queues"])
    leaving.begin(drain.WEDGED)
    leaving._run()
    assert ended == [drain.WEDGED]


def submit(client, count: int, text: str = SLOW) -> list[str]:
    return [
        client.submit(Generate(messages=[Message(role="user", content=text)])) for _ in range(count)
    ]


def running(client, ids) -> int:
    states = [client.status(one) for one in ids]
    return sum(status.state == "running" and status.hop == "local" for status in states)


def all_done_once(client, ids) -> list[int]:
    """Wait for every job; return how often each was attempted in the local lane."""
    answers = [client.result(one, timeout=30) for one in ids]
    assert {answer.status for answer in answers} == {"done"}
    return [answer.attempts for answer in answers]


def ended_with(proc, within_s: float) -> int:
    assert proc.wait(within_s * slowdown()), "is still there"
    return proc._popen.returncode


def start(fleet, client, jobs: int, **env: str):
    """Start the only local worker, and have it run jobs; some may be waiting."""
    worker = fleet.start("local", **ENGINE, **env)
    fleet.wait_ready()
    ids = submit(client, jobs)
    until(lambda: running(client, ids) >= 8, 15)
    return worker, ids


def test_a_worker_told_to_stop_finishes_what_runs_and_takes_no_more(fleet, client):
    worker, ids = start(fleet, client, 40)
    worker.send(signal.SIGTERM)
    assert ended_with(worker, 10) == 0
    assert running(client, ids) == 0
    states = [client.status(one).state for one in ids]
    assert 8 <= states.count("done") <= 24 * slowdown()  # the jobs in flight, not those that waited
    assert set(states) == {"done", "waiting"}
    for one in ids:
        client.cancel(one)


def test_a_worker_told_to_stop_finishes_what_its_reserve_works(fleet, client):
    threads = JOBS_PER_SLOT * 8 + SHARDS_AT_ONCE
    worker, ids = start(fleet, client, threads)
    until(lambda: running(client, ids) == threads, 5)
    late = submit(client, 1, "[[echo: delay=0.5]] one two three four five six seven eight")
    until(lambda: running(client, late) == 1, 5)  # a thread of the reserve has it
    worker.send(signal.SIGTERM)
    assert ended_with(worker, 15) == 0
    assert set(all_done_once(client, [*ids, *late])) == {1}


def test_a_job_that_does_not_finish_in_time_goes_to_another_worker_within_a_second(fleet, client):
    worker, ids = start(fleet, client, 8, FOREBAY_GRACE_S="1.5")
    fleet.start("local", **ENGINE)
    fleet.wait_ready()
    long = submit(client, 10, "[[echo: delay=0.5]] one two three four five six seven eight")
    until(lambda: running(client, ids + long) >= 8, 10)
    worker.send(signal.SIGTERM)
    assert ended_with(worker, 4) == 0
    given_back = time.monotonic()
    assert worker.logged(r"gave \S+ back")
    until(lambda: running(client, long) == len(long), 3)
    assert time.monotonic() - given_back < slowdown()
    assert set(all_done_once(client, ids + long)) == {1}  # what was given back is not counted


def test_a_second_signal_ends_the_worker_at_once_and_nothing_is_lost(fleet, client):
    worker, ids = start(fleet, client, 16)
    worker.send(signal.SIGTERM)
    until(lambda: worker.logged("leaving"), 5)
    worker.send(signal.SIGTERM)
    assert ended_with(worker, 1) == 128 + signal.SIGTERM
    fleet.start("local", **ENGINE)
    fleet.wait_ready()
    attempts = all_done_once(client, ids)
    assert 2 in attempts  # found by their leases
    assert max(attempts) == 2


def test_a_hung_engine_does_not_keep_a_worker_alive(fleet, client):
    worker, ids = start(fleet, client, 8, FOREBAY_GRACE_S="1.5")
    hung = submit(client, 1, "[[echo: hang]]")
    until(lambda: running(client, hung) == 1, 10)
    worker.send(signal.SIGTERM)
    assert ended_with(worker, 4) == 0
    assert client.status(hung[0]).state == "waiting"
    assert client.status(hung[0]).attempts == 0
    for one in (*hung, *ids):
        client.cancel(one)
