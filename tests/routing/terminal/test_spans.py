"""Spans of time, as arguments of commands name them."""

import pytest

from forebay.routing.terminal.spans import seconds_of


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("30s", 30), ("1.5m", 90), ("2h", 7_200), ("1d", 86_400)],
)
def test_a_span_is_a_number_and_a_unit(span, seconds):
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1 h", "1y", "1e3s", "\u0663m", "4w"])
def test_other_texts_are_no_spans(text):
    assert seconds_of(text) is None


def test_weeks_are_for_those_who_ask_for_them():
    assert seconds_of("4w", "smhdw") == 2_419_200
