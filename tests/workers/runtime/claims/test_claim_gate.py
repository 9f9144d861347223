"""The gate: how many jobs a thread claims at once, and when it may not claim."""

import threading
import time
from types import SimpleNamespace

import pytest

from forebay.workers.runtime.claims import claim_gate
from forebay.workers.runtime.claims.claim_gate import ClaimGate
from forebay.workers.runtime.claims.in_flight import InFlight


def claim(token):
    return SimpleNamespace(token=token, record=SimpleNamespace(rows=0))


def work(in_flight, count, seconds):
    """Work jobs one after the other."""
    for number in range(count):
        with in_flight.holding(claim(f"worked {number}")):
            time.sleep(seconds)


def most(gate):
    with gate.turn() as count:
        return count


def test_the_first_job_is_claimed_alone_as_nobody_knows_how_long_jobs_take():
    assert most(ClaimGate(InFlight(32), 16)) == 1


def test_quick_jobs_are_claimed_together_and_long_ones_one_by_one():
    quick, long = InFlight(32), InFlight(32)
    work(quick, 3, 0.001)
    work(long, 2, claim_gate.AHEAD_S)
    assert most(ClaimGate(quick, 16)) > 4
    assert most(ClaimGate(long, 16)) == 1


def test_no_more_jobs_are_claimed_than_there_are_free_slots():
    in_flight = InFlight(3)
    work(in_flight, 1, 0.001)
    with in_flight.holding(claim("one")):
        assert most(ClaimGate(in_flight, 16)) == 2


def test_a_thread_waits_for_a_slot_and_its_successor_for_the_turn():
    in_flight, counts = InFlight(1), []
    gate = ClaimGate(in_flight, 16)
    with in_flight.holding(claim("one")):
        threads = [threading.Thread(target=lambda: counts.append(most(gate))) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert counts == []
    for thread in threads:
        thread.join(5)
    assert counts == [1, 1]


@pytest.mark.parametrize("state", ["closed", "drained"])
def test_a_thread_that_waits_while_the_worker_drains_claims_nothing(monkeypatch, state):
    monkeypatch.setattr(claim_gate, "CLOSED_S", 0.01)
    in_flight = InFlight(1)
    with in_flight.holding(claim("one")):
        setattr(in_flight, state, True)
        assert most(ClaimGate(in_flight, 16)) == 0
