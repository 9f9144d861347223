"""How fast rows were answered lately."""

import time

import pytest

from forebay.routing.bulk import row_rates
from forebay.routing.bulk.row_rates import MAX_SPANS, RowRate, RowRates


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that the test moves."""

    class Clock:
        now = 1_800_000_000.0

    monkeypatch.setattr(row_rates.time, "time", lambda: Clock.now)
    return Clock


def test_no_rate_is_known_before_rows_were_answered(redis):
    assert RowRates(redis).latest("classify") is None


def test_time_without_rows_does_not_count(redis, clock):
    rates = RowRates(redis)
    for seconds in (0, 10, 20, 7_200, 7_210):
        clock.now = 1_800_000_000.0 + seconds
        rates.note("classify", "local.default", "echo", 300)
        rates.note("classify", "local.default", "echo", 200)  # another worker
    found = rates.latest("classify")
    assert found == RowRate("local.default", "echo", 50.0, 1_800_007_210.0)
    assert rates.latest("summarize") is None


def test_the_model_that_answered_last_counts(redis, clock):
    rates = RowRates(redis)
    rates.note("classify", "local.default", "an old model", 10)
    clock.now += 60
    rates.note("classify", "local.big", "a new model", 100)
    found = rates.latest("classify")
    assert (found.queue, found.model, found.rows_per_s) == ("local.big", "a new model", 10.0)


def test_the_oldest_spans_are_dropped(redis, clock):
    rates = RowRates(redis)
    for _ in range(MAX_SPANS + 1):
        rates.note("embed", "embed", "echo", 1)
        clock.now += 10
    assert redis.hlen("fb:rates:embed") <= MAX_SPANS
    assert rates.latest("embed").last == clock.now - 10
    assert 0 < redis.ttl("fb:rates:embed") <= row_rates.KEEP_S
    assert time.time() == clock.now
