"""The hyperparameters of the router model's fit."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.routing.scoring.router_model import Parts
from forebay.workers.training.data.dataset import Dataset

#: The parts for several sources, unless others are clearly better (`choose_parts`).
MIXED: Parts = (0.2, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The numbers of a fit that are chosen, not fitted.

    Attributes:
        bins_penalty, features_penalty: L2 penalties of the two ridge regressions.
        parts: standard deviations that hashed n-grams, features and trees have in the prediction,
            relative to each other.
        trees, depth, rate: number, depth and learning rate of the boosted trees of one seed.
        seeds: how many such models, fitted with different seeds, are averaged.
        folds: folds of the out-of-fold predictions.
        seed: of the folds, and the first of the trees.
    """

    bins_penalty: float = 15.0
    features_penalty: float = 300.0
    parts: Parts = (1.0, 0.25, 0.25)
    trees: int = 200
    depth: int = 3
    rate: float = 0.03
    seeds: int = 1
    folds: int = 4
    seed: int = 0

    @classmethod
    def of(cls, data: Dataset, *, folds: int = 4, seed: int = 0) -> Hyperparameters:
        """Choose for this data: for similar texts, or for other texts if it has several sources.

        Words tell the sources apart, which helps on these sources and misleads elsewhere. With
        several sources they therefore get a small part. An average
        over seeds of fewer trees carries over better than as many trees of one seed (see the model
        card).
        """
        if len(set(data.sources)) > 1:
            return cls(parts=MIXED, trees=40, depth=4, rate=0.1, seeds=5, folds=folds, seed=seed)
        return cls(folds=folds, seed=seed)
