"""Boosted trees on the hand-made features, fitted by scikit-learn and carried over node by node.

scikit-learn rather than LightGBM: its trees are public (`tree_`), and it needs no library of the
system's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from forebay.routing.scoring.trees import LEAF, Forest, Node
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.fitting.hyperparameters import Hyperparameters

MIN_TEXTS_PER_LEAF = 20  # texts in a leaf
SHARE_OF_TEXTS = 0.5  # share of the texts that a tree is shown
SHARE_OF_FEATURES = 0.3  # share of the features that a split chooses from


def forest(rows: Floats, target: Floats, weights: Floats, recipe: Hyperparameters) -> Forest:
    """Trees for a centred target, the same for the same seed."""
    model = GradientBoostingRegressor(
        n_estimators=recipe.trees, max_depth=recipe.depth, learning_rate=recipe.rate,
        subsample=SHARE_OF_TEXTS, max_features=SHARE_OF_FEATURES, min_samples_leaf=MIN_TEXTS_PER_LEAF, init="zero",
        random_state=recipe.seed,
    )  # fmt: skip
    model.fit(rows, target, sample_weight=weights)
    return Forest(_nodes(each[0].tree_, recipe.rate) for each in model.estimators_)


def scaled(trees: Forest, factor: float) -> Forest:
    """The same trees, saying so many times as much."""
    return Forest(
        [
            node._replace(value=node.value * factor) if node.feature == LEAF else node
            for node in tree
        ]
        for tree in trees.trees
    )


def said(trees: Forest, rows: Floats) -> Floats:
    """What the trees say of each row; all rows walk down a tree together."""
    total, each = np.zeros(len(rows)), np.arange(len(rows))
    for tree in trees.trees:
        feature, value, right = (np.array(column) for column in zip(*tree, strict=True))
        at = np.zeros(len(rows), dtype=int)
        while (inside := feature[at] != LEAF).any():
            left = rows[each, feature[at]] <= value[at]
            at = np.where(inside, np.where(left, at + 1, right[at]), at)
        total += value[at]
    return total


def _nodes(tree: Any, rate: float) -> list[Node]:
    """scikit-learn lists nodes depth first, so a left child follows its parent here too."""
    return [
        Node(LEAF, float(tree.value[at, 0, 0]) * rate, 0)
        if tree.children_left[at] < 0
        else Node(int(tree.feature[at]), float(tree.threshold[at]), int(tree.children_right[at]))
        for at in range(tree.node_count)
    ]
