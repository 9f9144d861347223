"""The points of the charts."""

from __future__ import annotations

from forebay.producers.gateway.status.views.series import RANGES, series
from forebay.routing.base import NANO
from forebay.routing.books.job_history import Minute


def minute(number, waiting=None, spent=0, **counts):
    return Minute(number * 60, counts, waiting, 0, spent)


def test_a_point_adds_up_its_minutes_and_a_gap_is_no_zero():
    minutes = [
        minute(0), minute(1),
        minute(2, {"route": 4, "bedrock": 1}, 5 * NANO, local=6),
        minute(3, {"route": 2}, 7 * NANO, bedrock=1),
    ]  # fmt: skip
    found = series(minutes, 2)
    assert found["time"] == [0, 120]
    assert (found["local"], found["bedrock"], found["failed"]) == (
        [None, 3.0],
        [None, 0.5],
        [None, 0.0],
    )
    assert found["waiting"] == [None, 5]
    assert found["spent"] == [None, 7.0]
    assert found["known"]


def test_before_the_first_sample_nothing_is_known():
    assert not series([minute(n) for n in range(5)], 1)["known"]


def test_charts_begin_where_history_begins_and_have_ten_points_at_least():
    young = [minute(n) for n in range(58)] + [minute(58, {}), minute(59, {})]
    assert series(young, 1)["time"] == [60 * n for n in range(50, 60)]
    older = [minute(n) for n in range(20)] + [minute(n, {}) for n in range(20, 60)]
    assert series(older, 1)["time"] == [60 * n for n in range(20, 60)]
    assert len(series([minute(n) for n in range(60)], 1)["time"]) == 60


def test_a_gap_in_the_history_stays():
    minutes = [minute(0, {})] + [minute(n) for n in range(1, 59)] + [minute(59, {})]
    assert len(series(minutes, 1)["time"]) == 60


def test_every_range_has_about_as_many_points():
    assert {60, 120, 144} == {minutes // step for minutes, step in RANGES.values()}
