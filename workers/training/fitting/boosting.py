"""Gradient boosting on the hand-made features: fitted by scikit-learn, copied node by node.

scikit-learn rather than LightGBM, because its trees are public (`tree_`) and it needs no system
library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from forebay.routing.scoring.trees import LEAF, Forest, Node
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.fitting.hyperparameters import Hyperparameters

MIN_TEXTS_PER_LEAF = 20
SHARE_OF_TEXTS = 0.5  # that each tree is fitted to
SHARE_OF_FEATURES = 0.3  # that each split chooses from


def fit_forest(
    rows: Floats, target: Floats, weights: Floats, parameters: Hyperparameters
) -> Forest:
    """Fit trees to a centred target. The same seeds give the same trees."""
    models = [
        GradientBoostingRegressor(
            n_estimators=parameters.trees, max_depth=parameters.depth,
            learning_rate=parameters.rate, subsample=SHARE_OF_TEXTS,
            max_features=SHARE_OF_FEATURES, min_samples_leaf=MIN_TEXTS_PER_LEAF, init="zero",
            random_state=parameters.seed + extra,
        ).fit(rows, target, sample_weight=weights)
        for extra in range(parameters.seeds)
    ]  # fmt: skip
    trees = [each[0].tree_ for model in models for each in model.estimators_]
    forest = Forest(nodes(tree, parameters.rate) for tree in trees)
    return scale_forest(forest, 1 / parameters.seeds) if parameters.seeds > 1 else forest


def scale_forest(forest: Forest, factor: float) -> Forest:
    """Return trees whose predictions are this many times as large."""
    return Forest(
        [
            node._replace(value=node.value * factor) if node.feature == LEAF else node
            for node in tree
        ]
        for tree in forest.trees
    )


def predict(forest: Forest, rows: Floats) -> Floats:
    """Return the forest's prediction for each row; all rows walk down a tree together."""
    total, each = np.zeros(len(rows)), np.arange(len(rows))
    for tree in forest.trees:
        feature, value, right = (np.array(column) for column in zip(*tree, strict=True))
        at = np.zeros(len(rows), dtype=int)
        while (inside := feature[at] != LEAF).any():
            left = rows[each, feature[at]] <= value[at]
            at = np.where(inside, np.where(left, at + 1, right[at]), at)
        total += value[at]
    return total


def nodes(tree: Any, rate: float) -> list[Node]:
    """Copy a tree's nodes. scikit-learn lists them depth first: a left child follows its parent."""
    return [
        Node(LEAF, float(tree.value[at, 0, 0]) * rate, 0)
        if tree.children_left[at] < 0
        else Node(int(tree.feature[at]), float(tree.threshold[at]), int(tree.children_right[at]))
        for at in range(tree.node_count)
    ]
