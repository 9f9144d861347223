"""Means by job type, shrunk towards the overall mean; weights and centring by source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forebay.workers.training.data.dataset import Dataset, Floats

#: Candidates for the shrinkage: the weight of the overall mean, in rows of a type.
SHRINKS = (10.0, 20.0, 40.0, 80.0)
SOURCE_WEIGHT = 60.0  # total weight of a source, times the square root of its size


@dataclass(frozen=True, slots=True)
class TypeMeans:
    """Means by job type.

    Attributes:
        overall: the mean of all rows, which stands for unknown types.
        types: mean by job type.
    """

    overall: float
    types: dict[str, float]

    @classmethod
    def of(cls, values: Floats, types: Sequence[str] | None, weights: Floats) -> TypeMeans:
        """Compute the means of these values, with the shrinkage of least leave-one-out error.

        Without types only the overall mean is computed.
        """
        overall = float(np.average(values, weights=weights))
        names, places = np.unique(np.array(types or []), return_inverse=True)
        if not len(names):
            return cls(overall, {})
        mass = np.bincount(places, weights)
        sums = np.bincount(places, weights * values)

        def error(shrink: float) -> float:
            """Return the mean squared error of predicting each value by the others of its type."""
            others = sums[places] - weights * values + shrink * overall
            predicted = others / (mass[places] - weights + shrink)
            return float(np.average((values - predicted) ** 2, weights=weights))

        shrink = min(SHRINKS, key=error)
        means = (sums + shrink * overall) / (mass + shrink)
        return cls(overall, dict(zip(names.tolist(), means.tolist(), strict=True)))

    def predict(self, types: Sequence[str] | None, size: int) -> Floats:
        """Return the mean for each row: its type's, or the overall mean.

        Args:
            types: the job type of each row; `None` if job types are not used.
            size: the number of rows.
        """
        if types is None:
            return np.full(size, self.overall)
        return np.array([self.types.get(name, self.overall) for name in types])


def source_weights(data: Dataset) -> Floats:
    """Return the weight of each row, 1 on average. Rows of a large source weigh less."""
    _, places, sizes = np.unique(data.sources, return_inverse=True, return_counts=True)
    weights = SOURCE_WEIGHT / np.sqrt(sizes[places])
    return np.asarray(weights / weights.mean())


def centred(values: Floats, data: Dataset, weights: Floats) -> Floats:
    """Return the values with each source's mean moved to the overall mean.

    How benchmarks differ from each other does not tell which of a fleet's jobs are hard.
    """
    _, places, sizes = np.unique(data.sources, return_inverse=True, return_counts=True)
    means = np.bincount(places, values) / sizes
    return np.asarray(values - means[places] + np.average(values, weights=weights))
