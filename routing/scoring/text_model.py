"""What is fitted of the router model: a text in, what there is to gain and the odds out.

A head is a sum of three readings of one text: hashed words and word parts, hand-made features, and
boosted trees on those. Training (`workers.training`) folds each reading's share into its weights.
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

_MIN_BINS = 2  # bins; fewer say nothing
_ZERO = 128  # added to a weight of one signed byte, it fits an unsigned one
MAX_DEVIATIONS = 4.0  # standard deviations beyond which a text is not more unusual
WORDS, TREES = "words", "trees"  # in place of what has no name that may be told


class View(NamedTuple):
    """One look at a text: the bins of what occurs, and the features in standard deviations."""

    bins: frozenset[int]
    features: Sequence[float]


class Scale(StrictModel):
    """Mean and standard deviation of a feature where the model was fitted."""

    mean: float
    deviation: float = Field(gt=0)


class Grams(StrictModel):
    """A weight a bin: whole numbers of `step`, from -127 to 127, packed."""

    step: float = Field(ge=0)
    packed: str
    _shifted: bytes = PrivateAttr()  # from 0 to 255, which are at hand as numbers

    def model_post_init(self, _: Any, /) -> None:
        """Unpack once; `ValueError` where that is something else."""
        try:
            data = zlib.decompressobj().decompress(base64.b64decode(self.packed), BINS + 1)
        except (zlib.error, binascii.Error):
            data = b""
        if len(data) != BINS:
            raise ValueError(f"must hold {BINS} weights")
        self._shifted = bytes(each ^ _ZERO for each in data)

    def __call__(self, bins: frozenset[int]) -> float:
        """The sum over the bins of a text, each of which counts so that they have length one."""
        if len(bins) < _MIN_BINS:
            return 0.0
        found: int = sum(itemgetter(*bins)(self._shifted)) - _ZERO * len(bins)
        return self.step * found / math.sqrt(len(bins))

    @classmethod
    def pack(cls, weights: Sequence[float]) -> Self:
        """Of these weights, rounded to whole steps."""
        step = max(map(abs, weights), default=0.0) / 127
        whole = array("b", [round(weight / step) if step else 0 for weight in weights])
        packed = base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode()
        return cls(step=step, packed=packed)


class Head(StrictModel):
    """One thing that is foretold.

    Attributes:
        features: weight by standard deviation of a feature, by name.
        trees: packed (`forebay.routing.scoring.trees`).
    """

    grams: Grams
    features: dict[str, float]
    trees: str
    _line: tuple[float, ...] = PrivateAttr()

    def model_post_init(self, _: Any, /) -> None:
        """Unpack the trees and order the features; `ValueError` where they do not fit."""
        if set(self.features) != set(TEXT_FEATURES):
            raise ValueError("a text feature is missing or unknown")
        self._line = tuple(self.features[name] for name in TEXT_FEATURES)
        if self._forest.width() > len(TEXT_FEATURES):
            raise ValueError("the trees look at more features than there are")

    @cached_property
    def _forest(self) -> Forest:
        return Forest.unpack(self.trees)

    def __call__(self, view: View) -> float:
        """What it says of a text."""
        line = sum(
            [weight * value for weight, value in zip(self._line, view.features, strict=True)]
        )
        return self.grams(view.bins) + line + self._forest(view.features)

    def parts(self, view: View) -> dict[str, float]:
        """What it is the sum of, by name; words have none that may be told."""
        line = zip(TEXT_FEATURES, self._line, view.features, strict=True)
        return {
            WORDS: self.grams(view.bins),
            TREES: self._forest(view.features),
            **{name: weight * value for name, weight, value in line},
        }


class TextModel(StrictModel):
    """Both heads, and what they look at.

    Attributes:
        gap: says how much more than usual there is to gain: score of the frontier answer less
            that of the local one, 0 to 1 each, less the mean of such texts.
        ok: says how far the log-odds that the local answer will do are from the usual.
    """

    scales: dict[str, Scale]
    gap: Head
    ok: Head
    _scales: tuple[tuple[float, float], ...] = PrivateAttr()

    def model_post_init(self, _: Any, /) -> None:
        """Check that each feature has its scale, and order them."""
        if set(self.scales) != set(TEXT_FEATURES):
            raise ValueError("the scale of a text feature is missing or unknown")
        ordered = [self.scales[name] for name in TEXT_FEATURES]
        self._scales = tuple((scale.mean, scale.deviation) for scale in ordered)

    def view(self, text: str) -> View:
        """Look at a text, once for both heads."""
        counted = text_features(text).values()
        standard = [
            max(-MAX_DEVIATIONS, min(MAX_DEVIATIONS, (value - mean) / deviation))
            for value, (mean, deviation) in zip(counted, self._scales, strict=True)
        ]
        return View(hashed_ngrams(text), standard)
