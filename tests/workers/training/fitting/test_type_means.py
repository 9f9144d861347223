"""Means by job type, and weights by source."""

import numpy as np
import pytest

from forebay.workers.training.data import dataset
from forebay.workers.training.fitting.type_means import TypeMeans, centred, source_weights


def test_a_rare_type_is_near_the_overall_mean_and_an_unknown_type_has_it():
    values = np.array([1.0] * 200 + [0.0] * 2 + [0.5] * 100)
    types = ["often"] * 200 + ["rare"] * 2 + ["other"] * 100
    means = TypeMeans.of(values, types, np.ones(len(values)))
    assert means.types["often"] > 0.95
    assert 0.65 < means.types["rare"] < means.overall
    assert means.predict(["never"], 1)[0] == means.overall


def test_sources_are_centred_and_rows_of_a_large_source_weigh_less():
    sources = ["big"] * 100 + ["small"] * 4
    gap = np.array([0.5] * 100 + [0.1] * 4)
    data = dataset.Dataset(list("u" * 104), [""] * 104, None, sources, np.zeros(104), gap)
    weights = source_weights(data)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[-1] / weights[0] == pytest.approx(5.0)
    assert np.ptp(centred(gap, data, weights)) == pytest.approx(0.0)
