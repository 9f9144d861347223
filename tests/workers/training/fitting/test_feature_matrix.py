"""Features of many texts, and the memory that they and the fits on them take."""

import tracemalloc

import numpy as np

from forebay.routing.scoring.hashed_ngrams import BINS
from forebay.workers.training.fitting import ridge
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix


def test_features_have_the_form_that_the_router_model_uses():
    matrix = FeatureMatrix.of(["How much is 12 + 7?", "", "name the moon"])
    assert matrix.bins.shape == (3, BINS)
    assert np.abs(matrix.standard(matrix.scales())).max() <= 4.0


def test_computing_features_and_fitting_take_little_more_memory_than_the_matrix():
    """The matrix of many texts takes gigabytes."""
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in draw.integers(0, 9999, 200)) for _ in range(50)]
    matrix, peak = with_peak_memory(lambda: FeatureMatrix.of(texts))
    size = matrix.bins.data.nbytes + matrix.bins.indices.nbytes
    assert peak < 2 * size
    target, types, even = draw.normal(size=50), draw.integers(0, 5, 50), np.ones(50)
    assert with_peak_memory(lambda: ridge.fit_bins(matrix.bins, target, even, 15.0))[1] < 3 * size
    assert (
        with_peak_memory(lambda: ridge.fit_types(matrix.bins, types, target, even, 15.0))[1]
        < 3 * size
    )


def with_peak_memory(function):
    """Return what the function returns, and the most bytes that it took at a time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        return function(), tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
