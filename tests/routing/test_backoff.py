"""Waits between tries: they double up to a limit, spread out, and end with the patience."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from forebay.routing.errors import Unavailable
from forebay.routing.store import backoff as backoff_module
from forebay.routing.store.backoff import MAX_ASKED_S, asked_wait_s, backoff, jittered, patiently


def test_a_jittered_wait_is_between_half_and_all_of_it():
    waits = [jittered(8.0) for _ in range(200)]
    assert 4.0 <= min(waits) < 5.0
    assert 7.0 < max(waits) <= 8.0


@pytest.mark.parametrize(("tries", "longest_s"), [(1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (9, 2.0)])
def test_waits_double_up_to_their_limit(tries, longest_s):
    waits = [backoff(tries, first_s=0.1, max_s=2.0) for _ in range(200)]
    assert longest_s / 2 <= min(waits) <= max(waits) <= longest_s


def test_thousands_of_tries_do_not_overflow():
    assert backoff(5_000, first_s=1.0, max_s=60.0) <= 60.0


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(backoff_module, "time", clock)
    return clock


def test_a_call_is_repeated_until_it_succeeds(clock):
    errors, heard = [Unavailable("first"), Unavailable("second")], []

    def call():
        if errors:
            raise errors.pop(0)
        return "done"

    result = patiently(call, patience_s=60, on_failure=lambda error: heard.append(error.message))
    assert (result, heard) == ("done", ["first", "second"])
    assert 1.0 <= clock.now <= 2.0


def test_the_last_error_is_raised_when_the_patience_is_used_up(clock):
    calls = []

    def call():
        calls.append(clock.now)
        raise Unavailable("no Redis")

    with pytest.raises(Unavailable, match="no Redis"):
        patiently(call, patience_s=3)
    assert 3 < calls[-1] <= 4


def test_any_other_error_is_final(clock):
    with pytest.raises(ValueError, match="broken"):
        patiently(lambda: int("broken"), patience_s=60)
    assert clock.now == 0


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("7", 7), ("0", 0), (" 1.5 ", 1.5), ("999999999", MAX_ASKED_S), ("", None), ("soon", None),
        ("-1", None), ("nan", None), ("1e9", None), ("7 s", None),
        ("Wed, 99 Nov 2026 25:00:00 GMT", None),
    ],
)  # fmt: skip
def test_a_wait_is_asked_for_in_seconds(header, wait_s):
    assert asked_wait_s(header) == wait_s


@pytest.mark.parametrize(
    ("ahead_s", "wait_s"), [(120, 120), (-60, 0), (90_000_000, MAX_ASKED_S), (0, 0)]
)
def test_a_wait_is_asked_for_by_a_date(ahead_s, wait_s):
    header = formatdate(time.time() + ahead_s, usegmt=True)
    assert asked_wait_s(header) == pytest.approx(wait_s, abs=5)
