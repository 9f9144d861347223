"""Linear regression with a penalty, on hashed words (sparse) and on hand-made features (dense)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from workers.training.dataset import Floats


def on_bins(rows: sp.csr_matrix, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a bin, for a target whose weighted mean is 0.

    Columns are not centred, so that a text without known words is a usual one.
    """
    model = Ridge(penalty, fit_intercept=False, solver="sparse_cg", tol=1e-4)
    return np.asarray(model.fit(rows, target, sample_weight=weights).coef_)


def on_features(rows: Floats, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a feature, for features in standard deviations and a centred target."""
    model = Ridge(penalty, fit_intercept=False, solver="cholesky")
    return np.asarray(model.fit(rows, target, sample_weight=weights).coef_)
