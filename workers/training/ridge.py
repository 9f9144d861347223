"""Linear regression with a penalty, on hashed words (sparse) and on hand-made features (dense)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from workers.training.dataset import Floats, Ints

RARE = 2  # power of the logarithm of how rare a bin is
TYPE = 0.5  # square of what a job type counts in a row, in which the bins count 1


def on_bins(rows: sp.csr_matrix, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a bin, for a target whose weighted mean is 0.

    The weight of a bin that few texts have is penalised less: what is rare tells topics apart.
    Columns are not centred, so that a text without known words is a usual one.
    """
    rare = sp.diags(_rarity(rows))
    model = Ridge(penalty, fit_intercept=False, solver="sparse_cg", tol=1e-4)
    return np.asarray(rare @ model.fit(rows @ rare, target, sample_weight=weights).coef_)


def on_types(
    rows: sp.csr_matrix, types: Ints, target: Floats, weights: Floats, penalty: float
) -> Floats:
    """A weight a job type, fitted beside the bins: what words tell as well is not told twice.

    Types are numbered from 0. The weights that `on_bins` fits to the rest are those fitted here.
    """
    count = np.sqrt(TYPE)
    marks = sp.csr_matrix((np.full(len(types), count), types, np.arange(len(types) + 1)))
    both = sp.hstack([rows @ sp.diags(_rarity(rows)), marks]).tocsr()
    model = Ridge(penalty, fit_intercept=False, solver="sparse_cg", tol=1e-4)
    fitted = model.fit(both, target, sample_weight=weights).coef_
    return np.asarray(count * fitted[rows.shape[1] :])


def _rarity(rows: sp.csr_matrix) -> Floats:
    """How much a bin's column is stretched; rows keep length one in the mean of their squares."""
    having = np.bincount(rows.indices, minlength=rows.shape[1])
    rarity = (1 + np.log((1 + rows.shape[0]) / (1 + having))) ** RARE
    squares = (rows.power(2) @ rarity**2).mean()
    return np.asarray(rarity / np.sqrt(squares or 1.0))


def on_features(rows: Floats, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a feature, for features in standard deviations and a centred target."""
    model = Ridge(penalty, fit_intercept=False, solver="cholesky")
    return np.asarray(model.fit(rows, target, sample_weight=weights).coef_)
