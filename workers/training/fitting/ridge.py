"""Linear regression with a penalty, on hashed words (sparse) and on hand-made features (dense)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from forebay.workers.training.data.dataset import Floats, Ints

RARE = 2  # power of the logarithm of how rare a bin is
TYPE = 0.5  # square of what a job type counts in a row, in which the bins count 1


def on_bins(rows: sp.csr_matrix, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a bin, for a target whose weighted mean is 0.

    The weight of a bin that few texts have is penalised less: what is rare tells topics apart.
    Columns are not centred, so that a text without known words is a usual one.
    """
    rarity, root = _rarity(rows), np.sqrt(weights)
    return rarity * _solved(_stretched(rows, rarity, root), root * target, penalty)


def on_types(
    rows: sp.csr_matrix, types: Ints, target: Floats, weights: Floats, penalty: float
) -> Floats:
    """A weight a job type, fitted beside the bins: what words tell as well is not told twice.

    Types are numbered from 0. The weights that `on_bins` fits to the rest are those fitted here.
    """
    count, root = np.sqrt(TYPE), np.sqrt(weights)
    both = _marked(_stretched(rows, _rarity(rows), root), types, count * root)
    return np.asarray(count * _solved(both, root * target, penalty)[rows.shape[1] :])


def _solved(rows: sp.csr_matrix, target: Floats, penalty: float) -> Floats:
    """By conjugate gradients. Rows and target are weighed here: Ridge would copy them once more."""
    model = Ridge(penalty, fit_intercept=False, copy_X=False, solver="sparse_cg", tol=1e-4)
    return np.asarray(model.fit(rows, target).coef_)


def _rarity(rows: sp.csr_matrix) -> Floats:
    """How much a bin's column is stretched; rows keep length one in the mean of their squares."""
    having = np.bincount(rows.indices, minlength=rows.shape[1])
    rarity = (1 + np.log((1 + rows.shape[0]) / (1 + having))) ** RARE
    squares = (_with(rows.data**2, rows) @ rarity**2).mean()
    return np.asarray(rarity / np.sqrt(squares or 1.0))


def _stretched(rows: sp.csr_matrix, columns: Floats, weights: Floats) -> sp.csr_matrix:
    """Each entry times its column's number, and its row's."""
    values = columns[rows.indices]
    values *= rows.data
    values *= np.repeat(weights, np.diff(rows.indptr))
    return _with(values, rows)


def _with(values: Floats, rows: sp.csr_matrix) -> sp.csr_matrix:
    """Other values in the same places, which are shared: of many texts they are half a gigabyte."""
    return sp.csr_matrix((values, rows.indices, rows.indptr), shape=rows.shape)


def _marked(rows: sp.csr_matrix, types: Ints, marks: Floats) -> sp.csr_matrix:
    """With a column a type behind those of the bins, in which each row has its mark."""
    begins, width = rows.indptr[:-1], rows.shape[1]
    places = np.insert(rows.indices, begins, width + types)
    values = np.insert(rows.data, begins, marks)
    ends = rows.indptr + np.arange(len(rows.indptr), dtype=rows.indptr.dtype)
    return sp.csr_matrix((values, places, ends), shape=(len(types), width + int(types.max()) + 1))


def on_features(rows: Floats, target: Floats, weights: Floats, penalty: float) -> Floats:
    """A weight a feature, for features in standard deviations and a centred target."""
    model = Ridge(penalty, fit_intercept=False, solver="cholesky")
    return np.asarray(model.fit(rows, target, sample_weight=weights).coef_)
