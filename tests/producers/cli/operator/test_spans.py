"""Spans of time on the command line: however long ago they begin, no command looks before 1970."""

from __future__ import annotations

import pytest

from forebay.producers.cli.operator.spans import between


@pytest.mark.parametrize("since", ["9999999w", "9" * 400 + "d", "0001-01-01", "1960-01-01T00:00Z"])
def test_a_span_begins_in_1970_at_the_earliest(since):
    assert between(since, None)[0] == 0.0
