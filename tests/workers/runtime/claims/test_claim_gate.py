"""The gate: how many jobs a thread claims at once, and when it may not claim."""

import threading
import time
from types import SimpleNamespace

import pytest

from forebay.workers.runtime.claims import claim_gate
from forebay.workers.runtime.claims import in_flight as claims_in_flight
from forebay.workers.runtime.claims.claim_gate import ClaimGate
from forebay.workers.runtime.claims.in_flight import MOMENT_S, SOON_S, InFlight


def claim(token):
    return SimpleNamespace(token=token, record=SimpleNamespace(rows=0))


class Clock:
    """A clock that stands still unless it is told to go on."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(claims_in_flight, "time", clock)
    return clock


def work(in_flight, clock, count, seconds, *, reserved=False):
    """Work jobs one after the other."""
    for number in range(count):
        with in_flight.holding(claim(f"worked {number}"), reserved=reserved):
            clock.now += seconds


def most(gate):
    with gate.turn("local.default") as count:
        return count


def test_the_first_job_is_claimed_alone_as_nobody_knows_how_long_jobs_take():
    assert most(ClaimGate(InFlight(32), 16)) == 1


def test_quick_jobs_are_claimed_together_and_long_ones_one_by_one(clock):
    in_flight = InFlight(32)
    gate = ClaimGate(in_flight, 16)
    work(in_flight, clock, 3, 0.001)
    assert most(gate) == 16
    work(in_flight, clock, 200, 0.02)
    assert most(gate) == 5
    work(in_flight, clock, 200, 1.0)
    assert most(gate) == 1


def test_the_reserve_waits_only_while_a_slot_is_soon_free(clock):
    in_flight = InFlight(1)
    assert not in_flight.ends_soon
    work(in_flight, clock, 2, 0.001)
    assert in_flight.ends_soon
    with in_flight.holding(claim("one")):
        clock.now += 2 * SOON_S
        assert not in_flight.ends_soon


def test_jobs_that_end_together_leave_a_worker_quick_until_the_next_ones_end(clock):
    in_flight = InFlight(1)
    assert not in_flight.quick
    work(in_flight, clock, 2, 0.001)
    clock.now += 2 * SOON_S
    assert in_flight.quick
    clock.now += MOMENT_S
    assert not in_flight.quick
    work(in_flight, clock, 1000, 2 * SOON_S)
    assert not in_flight.quick


def test_quick_jobs_of_the_reserve_free_no_slot_of_long_ones(clock):
    in_flight = InFlight(1)
    with in_flight.holding(claim("long")):
        work(in_flight, clock, 3, 0.001, reserved=True)
        assert not in_flight.ends_soon
        assert not in_flight.quick


def test_no_more_jobs_are_claimed_than_there_are_free_slots(clock):
    in_flight = InFlight(3)
    work(in_flight, clock, 1, 0.001)
    with in_flight.holding(claim("one")):
        assert most(ClaimGate(in_flight, 16)) == 2


@pytest.mark.parametrize("slots", [1, 3, 8, 40])
def test_nobody_waits_for_more_room_than_a_worker_has(clock, monkeypatch, slots):
    in_flight, waits = InFlight(slots), []
    work(in_flight, clock, 20, 0.001)
    monkeypatch.setattr(in_flight._freeing, "wait", lambda within_s=None: waits.append(within_s))
    assert most(ClaimGate(in_flight, 32)) == min(slots, 32)
    assert waits == []


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


def test_a_claim_that_fills_no_slot_wakes_nobody_who_waits_until_all_are_filled():
    class Watched(InFlight):
        looks = 0

        def _full(self):
            self.looks += threading.current_thread() is waiting
            return super()._full()

    in_flight, filled = Watched(3), []
    waiting = threading.Thread(target=lambda: filled.append(in_flight.filled(30)))
    waiting.start()
    while not in_flight.looks:
        time.sleep(0.001)
    for number in range(5):
        with in_flight.holding(claim(str(number))):
            time.sleep(0.01)  # long enough for a thread that was woken to look
    assert (in_flight.looks, filled) == (1, [])
    in_flight.hold([claim("a"), claim("b"), claim("c")])
    waiting.join(30)
    assert (in_flight.looks, filled) == (2, [True])
