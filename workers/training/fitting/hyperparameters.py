"""How to fit: the few numbers that are chosen and not fitted."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.workers.training.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How to fit.

    Attributes:
        bins_penalty, features_penalty: of the two linear readings, for rows that weigh 1 each.
        parts: of hashed words, features and trees in what is foretold, in standard deviations.
        trees, depth: how many, and how many questions each asks.
        rate: how much of what a tree says counts; fewer trees must say more each.
        folds: parts of the data for the readings' shares.
    """

    bins_penalty: float = 15.0
    features_penalty: float = 300.0
    parts: tuple[float, float, float] = (1.0, 0.25, 0.25)
    trees: int = 200
    depth: int = 3
    rate: float = 0.03
    folds: int = 4
    seed: int = 0

    @classmethod
    def of(cls, data: Dataset, *, folds: int = 4, seed: int = 0) -> Hyperparameters:
        """For texts like these, or, where they have several sources, for texts unlike them.

        Words tell the sources apart, and so help among their own and mislead elsewhere.
        """
        if len(set(data.sources)) > 1:
            return cls(parts=(0.2, 0.3, 1.0), depth=4, rate=0.06, folds=folds, seed=seed)
        return cls(folds=folds, seed=seed)
