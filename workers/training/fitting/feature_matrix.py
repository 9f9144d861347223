"""The router model's features of many texts, computed once and used by every fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from forebay.routing.scoring.hashed_ngrams import BINS, hashed_ngrams
from forebay.routing.scoring.text_features import TEXT_FEATURES, text_features
from forebay.routing.scoring.text_model import MAX_DEVIATIONS, Scale
from forebay.workers.training.data.dataset import Floats, Ints

BinNumbers = npt.NDArray[np.int32]

#: A feature that is the same in all texts has no deviation; this one keeps others finite.
_MIN_DEVIATION = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMatrix:
    """The features of texts, a row for each text.

    Attributes:
        bins: hashed n-grams (feature hashing), a column for each bin; each row has length 1.
        features: hand-made features, not standardised, in the order of `TEXT_FEATURES`.
    """

    bins: sp.csr_matrix
    features: Floats

    @classmethod
    def of(cls, texts: Sequence[str]) -> FeatureMatrix:
        """Compute the features of these texts."""
        return cls(
            _sparse(map(_bin_numbers, texts)),
            np.array([list(text_features(text).values()) for text in texts]),
        )

    def take(self, rows: Ints) -> FeatureMatrix:
        """Return these rows, in this order."""
        return FeatureMatrix(self.bins[rows], self.features[rows])

    def scales(self) -> dict[str, Scale]:
        """Return the mean and standard deviation of each hand-made feature."""
        means, deviations = self.features.mean(axis=0), self.features.std(axis=0)
        return {
            name: Scale(
                mean=round(float(mean), 6), deviation=round(max(float(width), _MIN_DEVIATION), 6)
            )
            for name, mean, width in zip(TEXT_FEATURES, means, deviations, strict=True)
        }

    def standard(self, scales: Mapping[str, Scale]) -> Floats:
        """Return the hand-made features in standard deviations, clipped as the router does."""
        means = np.array([scales[name].mean for name in TEXT_FEATURES])
        widths = np.array([scales[name].deviation for name in TEXT_FEATURES])
        return np.asarray(
            np.clip((self.features - means) / widths, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        )


def _bin_numbers(text: str) -> BinNumbers:
    return np.array(sorted(hashed_ngrams(text)), dtype=np.int32)


def _sparse(rows: Iterable[BinNumbers]) -> sp.csr_matrix:
    numbers = list(rows)
    sizes = np.array([len(row) for row in numbers])
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    ends = np.cumsum([0, *sizes])
    return sp.csr_matrix((values, np.concatenate(numbers), ends), shape=(len(sizes), BINS))
