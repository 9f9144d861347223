"""Shares as people read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.overview.percentage import percentage


def test_a_share_is_rounded():
    assert [percentage(share) for share in (0, 0.291, 1, 1.5)] == ["0%", "29%", "100%", "150%"]
    assert percentage(0.034, 1) == "3.4%"


def test_one_of_many_is_not_rounded_away():
    assert percentage(1 / 100_000, 1) == "< 0.1%"
    assert percentage(1 - 1 / 100_000, 1) == "> 99.9%"
    assert (percentage(0.004), percentage(0.996)) == ("< 1%", "> 99%")


@given(st.floats(0, 1), st.integers(0, 3))
def test_only_nothing_is_0_and_only_the_whole_is_100(share, places):
    shown = percentage(share, places)
    number = float(shown.strip("<> %"))
    assert (number == 0) == (share == 0)
    assert (number == 100) == (share == 1)
    assert abs(number / 100 - share) <= 0.01 / 10**places
