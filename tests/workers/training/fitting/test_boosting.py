"""Trees of scikit-learn, copied into the router's own."""

import numpy as np
import pytest

from forebay.workers.training.fitting import boosting
from forebay.workers.training.fitting.hyperparameters import Hyperparameters


def test_copied_trees_predict_what_was_fitted():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(300, 5))
    target = np.sign(rows[:, 0]) + rows[:, 1]
    forest = boosting.fit_forest(rows, target, np.ones(300), Hyperparameters(trees=80))
    together = boosting.predict(forest, rows)
    assert together.tolist() == pytest.approx([forest(row) for row in rows.tolist()])
    assert np.corrcoef(together, target)[0, 1] > 0.9
