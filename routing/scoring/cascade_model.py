"""The cascade model: ranks local answers by what Bedrock would gain on them.

It is fitted to a fleet's own outcomes (`forebay router train-cascade`), and none is packaged. Its
rank is averaged with that of the plain rule, which escalates where local answers differ: together
they rank better than either alone, and a model fitted to few answers does little harm.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from forebay.routing.scoring.trees import Forest
from forebay.routing.scoring.weights_file import FittedModel, WeightsFile

MAX_FEATURES = 120
TIE_BREAK = 1e-3


class Weights(WeightsFile):
    """The content of a file of weights.

    Attributes:
        note: what the weights were fitted to.
        others: how many further local answers an answer is compared with.
        features: the names of the inputs, in the order in which the trees count them.
        trees: packed trees (`forebay.routing.scoring.trees`) that predict the gap.
        learned: rising quantiles of what the trees predict, by which it becomes a rank.
        plain: rising quantiles of the plain rule, in which the learned rank orders equal answers.
    """

    kind: ClassVar[str] = "cascade"
    note: tuple[str, ...] = ()
    others: int = Field(ge=1, le=8)
    features: tuple[str, ...] = Field(min_length=1, max_length=MAX_FEATURES)
    trees: str = Field(repr=False)
    learned: tuple[float, ...] = Field(min_length=2)
    plain: tuple[float, ...] = Field(min_length=2)
    _forest: Forest = PrivateAttr()

    @model_validator(mode="after")
    def _unpack(self) -> Self:
        self._forest = Forest.unpack(self.trees)
        if self._forest.width() > len(self.features):
            raise ValueError("must have trees that use no more features than are named")
        return self


class CascadeModel(FittedModel[Weights]):
    """The cascade model. The same features and weights always give the same score."""

    weights_class = Weights
    packaged = Path("no cascade model is packaged")

    @property
    def others(self) -> int:
        """How many further answers it needs."""
        return self._weights.others

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its inputs."""
        return self._weights.features

    def score(self, features: Mapping[str, float], agreements: Sequence[float]) -> float:
        """Return the mean of two ranks, 0 to 1; answers with the highest go up first.

        A feature that is missing counts as 0.
        """
        weights = self._weights
        inputs = [features.get(name, 0.0) for name in weights.features]
        learned = rank(weights._forest(inputs), weights.learned)  # noqa: SLF001 - of this file
        return (learned + rank(plain_score(agreements, learned), weights.plain)) / 2


def with_verdict(features: Mapping[str, float], gap: float, probability: float) -> dict[str, float]:
    """Return the features of an answer with those of the verdict, rounded as a record keeps it."""
    return {**features, "gap": round(gap, 6), "probability": round(probability, 6)}


def plain_score(agreements: Sequence[float], learned: float) -> float:
    """Return the score of the plain rule: how much further answers differ, added up.

    The learned rank, 0 to 1, orders answers that differ equally.
    """
    return len(agreements) - sum(agreements) + TIE_BREAK * learned


def rank(value: float, quantiles: Sequence[float]) -> float:
    """Return where a value lies among quantiles, 0 to 1; equal quantiles share their mean place."""
    low, high = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if low < high:  # among the quantiles, perhaps several times
        return (low + high - 1) / 2 / (len(quantiles) - 1)
    if low in {0, len(quantiles)}:
        return 0.0 if low == 0 else 1.0
    left, right = quantiles[low - 1], quantiles[low]
    return (low - 1 + (value - left) / (right - left)) / (len(quantiles) - 1)
