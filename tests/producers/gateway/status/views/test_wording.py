"""Numbers, money, spans and times, as people read them."""

from __future__ import annotations

import pytest

from forebay.producers.gateway.status.views import wording
from forebay.routing.base import NANO
from forebay.routing.errors import counted


@pytest.mark.parametrize(
    ("usd", "places", "text"),
    [
        (0, None, "$0.00"), (0.0123, None, "$0.0123"), (0.05, None, "$0.05"),
        (0.00001, None, "< $0.0001"), (12.5, None, "$12.50"),
        (1_234_567.891, None, "$1,234,567.89"), (0, 4, "$0.0000"), (2, 2, "$2.00"),
        (0.002, 2, "$0.0020"), (0.01, 2, "$0.01"), (0, 2, "$0.00"),
    ],
)  # fmt: skip
def test_dollars(usd, places, text):
    assert wording.dollars(round(usd * NANO), places) == text


def test_no_budget_is_no_limit():
    assert wording.dollars(None) == wording.dollars(None, 2) == "no limit"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (0.0021, "2 ms"), (0.44, "0.4 s"), (9.96, "10.0 s"), (12.4, "12 s"),
        (119, "119 s"), (300, "5 min"), (7_300, "2 h"), (200_000, "2 d"),
    ],
)  # fmt: skip
def test_a_span_has_its_unit(seconds, text):
    assert wording.span(seconds) == text


def test_an_age_has_no_tenths_that_change_all_the_time():
    assert wording.age(10_000, 4_300) == "5 s ago"
    assert wording.age(10_000, 9_700) == wording.age(0, 500) == "just now"
    assert wording.age(400_000, 0) == "7 min ago"


def test_a_share_of_nothing_is_nothing():
    assert wording.share(1, 0) == 0.0
    assert wording.share(3, 2) == 100.0
    assert wording.percent(None) == "-"
    assert [wording.percent(part) for part in (0, 0.034, 0.291, 1)] == ["0%", "3.4%", "29%", "100%"]


def test_times_are_in_utc():
    assert wording.clock(0) == "00:00:00 UTC"
    assert wording.moment(86_399_000) == "1970-01-01 23:59:59 UTC"
    assert wording.iso(0) == "1970-01-01T00:00:00.000+00:00"
    assert (counted(1, "job"), counted(1_200, "job")) == ("1 job", "1,200 jobs")
