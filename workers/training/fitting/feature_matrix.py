"""What the router model sees of many texts, counted once and used by every fit."""

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

Places = npt.NDArray[np.int32]  # of what occurs in a text, among the bins

_FLAT = 1e-3  # of a feature that is the same everywhere: no text is far from it


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMatrix:
    """One row a text.

    Attributes:
        bins: hashed words and word parts, one column a bin; a row has length one.
        features: hand-made features as counted, in the order of `TEXT_FEATURES`.
    """

    bins: sp.csr_matrix
    features: Floats

    @classmethod
    def at(cls, texts: Sequence[str]) -> FeatureMatrix:
        """Look at these texts."""
        return cls(
            _sparse(map(_places, texts)),
            np.array([list(text_features(text).values()) for text in texts]),
        )

    def take(self, rows: Ints) -> FeatureMatrix:
        """These rows, in this order."""
        return FeatureMatrix(self.bins[rows], self.features[rows])

    def scales(self) -> dict[str, Scale]:
        """Mean and deviation of each feature over these texts."""
        means, deviations = self.features.mean(axis=0), self.features.std(axis=0)
        return {
            name: Scale(mean=round(float(mean), 6), deviation=round(max(float(width), _FLAT), 6))
            for name, mean, width in zip(TEXT_FEATURES, means, deviations, strict=True)
        }

    def standard(self, scales: Mapping[str, Scale]) -> Floats:
        """The features in standard deviations, as a verdict sees them."""
        means = np.array([scales[name].mean for name in TEXT_FEATURES])
        widths = np.array([scales[name].deviation for name in TEXT_FEATURES])
        return np.asarray(
            np.clip((self.features - means) / widths, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        )


def _places(text: str) -> Places:
    return np.array(sorted(hashed_ngrams(text)), dtype=np.int32)


def _sparse(rows: Iterable[Places]) -> sp.csr_matrix:
    places = list(rows)
    sizes = np.array([len(row) for row in places])
    weights = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    ends = np.cumsum([0, *sizes])
    return sp.csr_matrix((weights, np.concatenate(places), ends), shape=(len(sizes), BINS))
