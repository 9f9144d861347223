"""Hours, days and months of a time zone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.limits.windows import window

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo",
         "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]  # fmt: skip


def at(text):
    return datetime.fromisoformat(text).timestamp()


def ends(span, moment, zone):
    found = window(span, at(moment), zone)
    return tuple(
        datetime.fromtimestamp(second, UTC).strftime("%m-%dT%H:%M")
        for second in (found.start_s, found.end_s)
    )


@pytest.mark.parametrize(
    ("span", "moment", "zone", "start", "end"),
    [
        ("hour", "2026-11-28T10:59:59Z", "UTC", "11-28T10:00", "11-28T11:00"),
        ("hour", "2026-11-28T10:59:59Z", "Asia/Kolkata", "11-28T10:30", "11-28T11:30"),
        ("day", "2026-11-28T23:30:00Z", "Europe/Berlin", "11-28T23:00", "11-29T23:00"),
        ("day", "2026-03-29T12:00:00Z", "Europe/Berlin", "03-28T23:00", "03-29T22:00"),  # 23 hours
        ("day", "2026-10-25T12:00:00Z", "Europe/Berlin", "10-24T22:00", "10-25T23:00"),  # 25 hours
        ("month", "2026-11-28T12:00:00Z", "America/New_York", "11-01T04:00", "12-01T05:00"),
        ("month", "2026-12-31T23:59:59Z", "UTC", "12-01T00:00", "01-01T00:00"),
    ],
)
def test_a_window_begins_and_ends_by_the_clock_of_its_zone(span, moment, zone, start, end):
    assert ends(span, moment, zone) == (start, end)


@given(
    st.sampled_from(["hour", "day", "month"]), st.integers(0, 4_000_000_000), st.sampled_from(ZONES)
)
def test_every_moment_lies_in_its_window_and_the_next_window_follows(span, second, zone):
    found = window(span, second, zone)
    assert found.start_s <= second < found.end_s
    if span != "hour":
        assert window(span, found.end_s - 1, zone) == found
        assert window(span, found.end_s, zone).start_s == found.end_s


def test_the_same_day_of_two_zones_is_one_book():
    winter = at("2026-01-15T12:00:00Z")
    assert window("day", winter, "Europe/London").book == window("day", winter).book == "day:20468"
    assert window("day", winter, "Europe/Berlin").book == "from:1768431600:1768518000"
