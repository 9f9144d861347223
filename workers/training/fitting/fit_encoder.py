"""Fits the encoder's reading: kernel ridge regression of the gap on the vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forebay.workers.models.encoder_reading import (
    DIGITS,
    MAX_CENTRES,
    EncoderWeights,
    kernel,
    packed,
)
from forebay.workers.training.data.dataset import Dataset, Floats
from forebay.workers.training.fitting.type_means import TypeMeans

WIDTHS, PENALTIES = (1.0, 2.0, 4.0, 8.0), (1.0, 3.0, 10.0, 30.0, 100.0)


def fit(
    data: Dataset, vectors: Floats, revision: str, *, seed: int = 0, note: Sequence[str] = ()
) -> EncoderWeights:
    """Return weights fitted to the gap less the mean of its job type.

    Width and penalty are those of the least squared error, each text held out in turn. Of more
    texts than `MAX_CENTRES`, so many at random are used.

    Args:
        data: the prompts and their scores.
        vectors: of the prompts.
        revision: of the encoder that made them.
        seed: of the choice of texts.
        note: what the data is.
    """
    even = np.ones(len(data))
    means = TypeMeans.of(data.gap, data.types, even).predict(data.types, len(data))
    residual = data.gap - np.asarray(means)
    if len(data) > MAX_CENTRES:
        rows = np.random.default_rng(seed).permutation(len(data))[:MAX_CENTRES]
        vectors, residual = vectors[rows], residual[rows]
    tried = [_held_out(vectors, residual, width) for width in WIDTHS]
    _, width, penalty = min(each for by_width in tried for each in by_width)
    similar = kernel(vectors, vectors, width)
    weights = np.linalg.solve(similar + penalty * np.eye(len(vectors)), residual)
    return EncoderWeights(
        version="new", note=tuple(note), revision=revision, width=width, centres=packed(vectors),
        weights=tuple(weights.round(DIGITS).tolist()),
    )  # fmt: skip


def _held_out(vectors: Floats, target: Floats, width: float) -> list[tuple[float, float, float]]:
    """Return the mean squared error of held-out texts, width and penalty, for each penalty.

    The eigenvalues of the kernel give the error of each text by a fit to all others at once.
    """
    values, basis = np.linalg.eigh(kernel(vectors, vectors, width))
    found = []
    for penalty in PENALTIES:
        shrunk = values / (values + penalty)
        fitted = basis @ (shrunk * (basis.T @ target))
        leverage = (basis**2) @ shrunk
        errors = (target - fitted) / np.maximum(1 - leverage, 1e-9)
        found.append((float(np.mean(errors**2)), width, penalty))
    return found
