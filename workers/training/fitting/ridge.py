"""Ridge regression on hashed n-grams (sparse), job types, and hand-made features (dense)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from forebay.workers.training.data.dataset import Floats, Ints

RARITY_POWER = 2  # of the logarithm of how rare a bin is
TYPE_MASS = 0.5  # squared length of a row's job type, where its bins together have 1


def fit_bins(rows: sp.csr_matrix, target: Floats, weights: Floats, penalty: float) -> Floats:
    """Fit a weight for each bin to a target whose weighted mean is 0.

    Bins that few texts have are penalised less: rare words tell topics apart. Columns are not
    centred, so that a text without known words is predicted as average.
    """
    rarity, root = _rarity(rows), np.sqrt(weights)
    return rarity * _solve(_scaled(rows, rarity, root), root * target, penalty)


def fit_types(
    rows: sp.csr_matrix, types: Ints, target: Floats, weights: Floats, penalty: float
) -> Floats:
    """Fit a weight for each job type together with the bins; return the types' weights.

    What both words and type tell is thereby not counted twice. `fit_bins` on the residual gives
    the bins' weights of this joint fit.

    Args:
        rows: the bins of each text.
        types: numbers of job types, from 0.
        target: a target whose weighted mean is 0.
        weights: of the rows.
        penalty: L2 penalty.
    """
    mark, root = np.sqrt(TYPE_MASS), np.sqrt(weights)
    joint = _with_types(_scaled(rows, _rarity(rows), root), types, mark * root)
    return np.asarray(mark * _solve(joint, root * target, penalty)[rows.shape[1] :])


def fit_features(rows: Floats, target: Floats, weights: Floats, penalty: float) -> Floats:
    """Fit a weight for each standardised feature to a centred target."""
    model = Ridge(penalty, fit_intercept=False, solver="cholesky")
    return np.asarray(model.fit(rows, target, sample_weight=weights).coef_)


def _solve(rows: sp.csr_matrix, target: Floats, penalty: float) -> Floats:
    """Solve by conjugate gradients. Callers apply row weights: Ridge would copy the matrix."""
    model = Ridge(penalty, fit_intercept=False, copy_X=False, solver="sparse_cg", tol=1e-4)
    return np.asarray(model.fit(rows, target).coef_)


def _rarity(rows: sp.csr_matrix) -> Floats:
    """Return the factor of each bin's column. The mean squared length of rows stays 1."""
    having = np.bincount(rows.indices, minlength=rows.shape[1])
    rarity = (1 + np.log((1 + rows.shape[0]) / (1 + having))) ** RARITY_POWER
    squares = (_with_values(rows.data**2, rows) @ rarity**2).mean()
    return np.asarray(rarity / np.sqrt(squares or 1.0))


def _scaled(rows: sp.csr_matrix, columns: Floats, weights: Floats) -> sp.csr_matrix:
    """Multiply each entry by its column's factor and its row's weight."""
    values = columns[rows.indices]
    values *= rows.data
    values *= np.repeat(weights, np.diff(rows.indptr))
    return _with_values(values, rows)


def _with_values(values: Floats, rows: sp.csr_matrix) -> sp.csr_matrix:
    """Return a matrix with other values that shares the indices, which may take half a gigabyte."""
    return sp.csr_matrix((values, rows.indices, rows.indptr), shape=rows.shape)


def _with_types(rows: sp.csr_matrix, types: Ints, marks: Floats) -> sp.csr_matrix:
    """Append a column for each job type, in which each row of that type has its mark."""
    begins, width = rows.indptr[:-1], rows.shape[1]
    places = np.insert(rows.indices, begins, width + types)
    values = np.insert(rows.data, begins, marks)
    ends = rows.indptr + np.arange(len(rows.indptr), dtype=rows.indptr.dtype)
    return sp.csr_matrix((values, places, ends), shape=(len(types), width + int(types.max()) + 1))
