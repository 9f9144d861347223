"""What is usual of a job type: its mean, shrunk towards the mean of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forebay.workers.training.data.dataset import Dataset, Floats

SHRINKS = (10.0, 20.0, 40.0, 80.0)  # a type seen so often counts as much as the mean of all
EVEN = 60.0  # a source counts so many times the square root of its size, not its size


@dataclass(frozen=True, slots=True)
class TypeMeans:
    """Means by job type; of a type that was not seen, the mean of all."""

    everywhere: float
    types: dict[str, float]

    @classmethod
    def of(cls, values: Floats, types: Sequence[str] | None, weights: Floats) -> TypeMeans:
        """Of these values; without types there is one mean."""
        everywhere = float(np.average(values, weights=weights))
        names, places = np.unique(np.array(types or []), return_inverse=True)
        if not len(names):
            return cls(everywhere, {})
        mass = np.bincount(places, weights)
        sums = np.bincount(places, weights * values)

        def error(shrink: float) -> float:
            """Squared error of the values when each is foretold by the others of its type."""
            others = sums[places] - weights * values + shrink * everywhere
            said = others / (mass[places] - weights + shrink)
            return float(np.average((values - said) ** 2, weights=weights))

        shrink = min(SHRINKS, key=error)
        means = (sums + shrink * everywhere) / (mass + shrink)
        return cls(everywhere, dict(zip(names.tolist(), means.tolist(), strict=True)))

    def at(self, types: Sequence[str] | None, size: int) -> Floats:
        """The usual value in each row."""
        if types is None:
            return np.full(size, self.everywhere)
        return np.array([self.types.get(name, self.everywhere) for name in types])


def source_weights(data: Dataset) -> Floats:
    """How much each row counts, 1 on average: a large source counts for less than its size."""
    _, places, sizes = np.unique(data.sources, return_inverse=True, return_counts=True)
    weights = EVEN / np.sqrt(sizes[places])
    return np.asarray(weights / weights.mean())


def centred(values: Floats, data: Dataset, weights: Floats) -> Floats:
    """The values with every source's mean moved to the mean of all.

    What tells one benchmark from another says nothing of where a fleet's jobs are hard.
    """
    _, places, sizes = np.unique(data.sources, return_inverse=True, return_counts=True)
    means = np.bincount(places, values) / sizes
    return np.asarray(values - means[places] + np.average(values, weights=weights))
