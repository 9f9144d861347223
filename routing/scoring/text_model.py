"""The text model, the fitted part of the router model: two outputs from one text.

Each output is a stacked sum of three models: linear on hashed n-grams, linear on hand-made
features, and gradient boosted trees on those features. Training (`forebay.workers.training`)
multiplies each model's weights by its share.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from array import array
from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple, Self

from pydantic import Field, PrivateAttr

from forebay.routing.scoring.hashed_ngrams import BINS, hashed_ngrams
from forebay.routing.scoring.text_features import TEXT_FEATURES, text_features
from forebay.routing.scoring.trees import Forest
from forebay.routing.scoring.weights_file import StrictModel

_MIN_BINS = 2  # a text with fewer bins has no n-grams to speak of
_ZERO = 128  # offset between a signed and an unsigned byte
MAX_DEVIATIONS = 4.0  # features are clipped to so many standard deviations
WORDS, TREES = "words", "trees"  # names of the contributions of n-grams and trees


class View(NamedTuple):
    """The inputs from one text: bins of its n-grams, and standardized features."""

    bins: frozenset[int]
    features: Sequence[float]


class Scale(StrictModel):
    """Mean and standard deviation of a feature in the training data."""

    mean: float
    deviation: float = Field(gt=0)


class Grams(StrictModel):
    """One weight for each bin, quantized to multiples of `step` from -127 to 127, and packed."""

    step: float = Field(ge=0)
    packed: str
    _shifted: bytes = PrivateAttr()  # 0 to 255, because indexing bytes gives unsigned numbers

    def model_post_init(self, _: Any, /) -> None:
        """Unpack the weights once; raise `ValueError` if they are not packed weights."""
        try:
            data = zlib.decompressobj().decompress(base64.b64decode(self.packed), BINS + 1)
        except (zlib.error, binascii.Error):
            data = b""
        if len(data) != BINS:
            raise ValueError(f"must hold {BINS} packed weights")
        self._shifted = bytes(byte ^ _ZERO for byte in data)

    def __call__(self, bins: frozenset[int]) -> float:
        """Return the weighted sum of a text's bins, whose vector is scaled to unit length."""
        if len(bins) < _MIN_BINS:
            return 0.0
        steps: int = sum(itemgetter(*bins)(self._shifted)) - _ZERO * len(bins)
        return self.step * steps / math.sqrt(len(bins))

    @classmethod
    def pack(cls, weights: Sequence[float]) -> Self:
        """Return these weights, rounded to whole steps."""
        step = max(map(abs, weights), default=0.0) / 127
        whole = array("b", [round(weight / step) if step else 0 for weight in weights])
        packed = base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode()
        return cls(step=step, packed=packed)


class Head(StrictModel):
    """One output of the text model.

    Attributes:
        grams: the weights of the hashed n-grams.
        features: the weight of each standardized feature, by name.
        trees: packed trees (`forebay.routing.scoring.trees`).
    """

    grams: Grams
    features: dict[str, float]
    trees: str
    _line: tuple[float, ...] = PrivateAttr()

    def model_post_init(self, _: Any, /) -> None:
        """Unpack the trees and order the features; raise `ValueError` if they do not fit."""
        if set(self.features) != set(TEXT_FEATURES):
            raise ValueError("must have a weight for each text feature, and for no other")
        self._line = tuple(self.features[name] for name in TEXT_FEATURES)
        if self._forest.width() > len(TEXT_FEATURES):
            raise ValueError("must have trees that use no more features than there are")

    @cached_property
    def _forest(self) -> Forest:
        return Forest.unpack(self.trees)

    def __call__(self, view: View) -> float:
        """Return the output for a text."""
        line = sum(
            [weight * value for weight, value in zip(self._line, view.features, strict=True)]
        )
        return self.grams(view.bins) + line + self._forest(view.features)

    def parts(self, view: View) -> dict[str, float]:
        """Return the contributions to the output, by name. Single n-grams are never named."""
        line = zip(TEXT_FEATURES, self._line, view.features, strict=True)
        return {
            WORDS: self.grams(view.bins),
            TREES: self._forest(view.features),
            **{name: weight * value for name, weight, value in line},
        }


class TextModel(StrictModel):
    """Both outputs, and the scales of their inputs.

    Attributes:
        scales: mean and standard deviation of each feature.
        gap: how far the gap is from its prior. The gap is the score of the frontier's answer less
            the score of the local answer, each 0 to 1.
        ok: how far the log-odds that the local answer will do are from their prior.
    """

    scales: dict[str, Scale]
    gap: Head
    ok: Head
    _scales: tuple[tuple[float, float], ...] = PrivateAttr()

    def model_post_init(self, _: Any, /) -> None:
        """Check that each feature has a scale, and order the scales."""
        if set(self.scales) != set(TEXT_FEATURES):
            raise ValueError("must have a scale for each text feature, and for no other")
        ordered = [self.scales[name] for name in TEXT_FEATURES]
        self._scales = tuple((scale.mean, scale.deviation) for scale in ordered)

    def view(self, text: str) -> View:
        """Return the inputs from a text, once for both outputs."""
        values = text_features(text).values()
        standardized = [
            max(-MAX_DEVIATIONS, min(MAX_DEVIATIONS, (value - mean) / deviation))
            for value, (mean, deviation) in zip(values, self._scales, strict=True)
        ]
        return View(hashed_ngrams(text), standardized)
