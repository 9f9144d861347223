"""The calibration error of the last audits, without a numeric library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.learning import confidence
from forebay.workers.training.data import ranking_metrics

shares = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])


def test_it_is_how_far_predictions_are_from_what_came_true():
    assert confidence.calibration_error([]) is None
    assert confidence.calibration_error([(0.9, 0.0)] * 4) == pytest.approx(0.9)
    assert confidence.calibration_error([(0.5, 0.0), (0.5, 1.0)] * 10) == 0


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=80))
def test_it_is_the_same_as_that_of_the_evaluation(pairs):
    predicted, truth = np.array(pairs).T
    expected = ranking_metrics.calibration_error(predicted, truth)
    assert confidence.calibration_error(pairs) == pytest.approx(expected, abs=1e-9)
