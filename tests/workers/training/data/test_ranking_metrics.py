"""Metrics of rankings: their values are those that can be worked out by hand."""

import numpy as np
import pytest

from forebay.workers.training.data.ranking_metrics import (
    NAMES,
    Ranked,
    calibration_error,
    error_by_chance,
)


def ranked(score, weak, strong, probability=None):
    lists = (score, weak, strong, probability)
    return Ranked(*(None if each is None else np.array(each, dtype=float) for each in lists))


def test_the_best_order_recovers_the_whole_gap_with_the_jobs_that_gain():
    """Two of ten jobs gain: an oracle recovers the whole gap at 20 %."""
    weak = [0, 0, *[1] * 8]
    figures = ranked([2, 2, *[1] * 8], weak, [1] * 10).measure()
    assert figures["pgr10"] == pytest.approx(0.5)
    assert figures["pgr20"] == pytest.approx(1.0)
    assert figures["cpt50"] == pytest.approx(10.0)
    assert figures["cpt80"] == pytest.approx(16.0)
    assert figures["apgr"] == pytest.approx(0.1 * (0 + 1) / 2 + 0.1 * 0.25 - 0.025 + 0.85)
    assert figures["auc"] == 1.0


def test_the_worst_order_recovers_nothing_until_the_end():
    figures = ranked([0, 0, *[1] * 8], [0, 0, *[1] * 8], [1] * 10).measure()
    assert figures["pgr20"] == 0
    assert figures["cpt50"] == pytest.approx(90.0)
    assert figures["apgr"] == pytest.approx(0.1)
    assert figures["auc"] == 0.0


def test_tied_jobs_are_escalated_in_proportion_whatever_their_order():
    """A constant score equals the expectation of a random router: the diagonal."""
    weak = np.arange(40) % 3 == 0
    figures = ranked([1] * 40, weak, [1] * 40).measure()
    assert figures["apgr"] == pytest.approx(0.5)
    assert figures["pgr10"] == pytest.approx(0.1)
    assert figures["cpt80"] == pytest.approx(80.0)
    assert figures["auc"] == 0.5


def test_if_some_strong_answers_are_worse_the_curve_rises_above_1_and_returns():
    figures = ranked([3, 3, 2, 1], [0, 0, 1, 1], [1, 1, 1, 0]).measure()
    assert figures["cpt80"] < 50
    assert figures["apgr"] > 1


def test_counts_say_how_often_a_job_is_in_the_sample():
    once = ranked([3, 2, 2, 1], [0, 1, 1, 0], [1, 1, 1, 1])
    twice = ranked([3, 2, 2], [0, 1, 1], [1, 1, 1])
    assert once.measure(np.array([1.0, 1, 1, 0])) == twice.measure()


def test_intervals_contain_the_metric_and_shrink_with_more_jobs():
    draw = np.random.default_rng(0)

    def width(size):
        weak = (draw.random(size) < 0.5).astype(float)
        router = ranked(draw.random(size) - 0.3 * weak, weak, np.ones(size))
        low, high = router.intervals(200, seed=1)["apgr"]
        assert low < router.measure()["apgr"] < high
        return high - low

    assert width(4_000) < width(200) / 2


@pytest.mark.parametrize(("gaining", "losing"), [(4, 0), (12, 3)])
def test_samples_without_a_gap_are_left_out_of_the_intervals_of_gap_metrics(gaining, losing):
    """About one sample in a hundred has no gap."""
    size = 40 if losing == 0 else 100
    weak = np.arange(size) < losing
    strong = np.arange(size) >= size - gaining
    router = ranked(strong * 1.0 - weak, weak, strong)
    low, high = router.intervals(1_000, seed=0)["pgr20"]
    assert 1 <= low <= high


def test_if_the_gap_may_be_0_only_other_metrics_have_intervals():
    draw = np.random.default_rng(0)
    weak, strong = draw.random(200) < 0.5, draw.random(200) < 0.53
    router = ranked(draw.random(200), weak, strong, np.full(200, 0.5))
    assert set(router.measure()) == set(NAMES)
    assert set(router.intervals(200, seed=0)) == {"auc", "ece"}


def test_calibration_error_is_the_mean_distance_of_probability_from_truth():
    predicted = np.repeat([0.2, 0.8], 50)
    truth = np.concatenate([np.arange(50) < 10, np.arange(50) < 40]).astype(float)
    assert calibration_error(predicted, truth) == pytest.approx(0.0)
    assert calibration_error(np.full(100, 0.5), truth) == pytest.approx(0.0)
    assert calibration_error(1 - predicted, truth) == pytest.approx(0.6)
    assert calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)


def test_a_perfect_probability_has_an_error_by_chance_that_falls_with_the_number_of_jobs():
    assert error_by_chance(np.repeat([0.0, 1.0], 50)) == 0
    few, many = (error_by_chance(np.linspace(0.2, 0.8, number)) for number in (100, 10_000))
    assert 0.08 < few < 0.14  # bins of ten: 0.8 of the standard error of their means
    assert many == pytest.approx(few / 10, rel=0.2)
