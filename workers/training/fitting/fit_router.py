"""Fits the weights of `forebay.routing.scoring.router_model` to outcomes.

The target is the gap: the frontier's score less the local score. A question that both get wrong is
hard, but not worth a dollar. The mean gap of each job type is subtracted first. Three base models
are fitted to the residual (ridge regression on hashed n-grams, ridge regression on hand-made
features, gradient boosting on those), and stacked on their out-of-fold predictions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from forebay.routing.scoring.logit import logit
from forebay.routing.scoring.router_model import Evidence, Prior, Weights
from forebay.routing.scoring.text_features import TEXT_FEATURES
from forebay.routing.scoring.text_model import Grams, Head, TextModel
from forebay.routing.scoring.trees import Forest
from forebay.workers.training.data.dataset import Dataset, Floats, Ints
from forebay.workers.training.fitting import boosting, ridge
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.hyperparameters import Hyperparameters
from forebay.workers.training.fitting.type_means import TypeMeans, centred, source_weights

DECIMALS = 6  # of a weight in the file
#: Standard deviations of the target that the stacked prediction has at least, so that it ranks.
MIN_SPREAD = 0.02
EDGE = 0.02  # probabilities are kept this far from 0 and 1


@dataclass(frozen=True, slots=True, eq=False)
class BaseModels:
    """The three base models, fitted to one target on some rows.

    Attributes:
        grams: a weight for each bin of hashed n-grams.
        line: a weight for each hand-made feature.
        trees: boosted trees on the hand-made features.
    """

    grams: Floats
    line: Floats
    trees: Forest

    def predict(self, matrix: FeatureMatrix, features: Floats) -> Floats:
        """Return the predictions of the base models, a column each."""
        trees = boosting.predict(self.trees, features)
        return np.column_stack([matrix.bins @ self.grams, features @ self.line, trees])

    def head(self, shares: Floats) -> Head:
        """Return the sum of the base models, each multiplied by its share."""
        line = self.line * shares[1]
        names = zip(TEXT_FEATURES, line, strict=True)
        return Head(
            grams=Grams.pack((self.grams * shares[0]).tolist()),
            features={name: round(float(weight), DECIMALS) for name, weight in names},
            trees=boosting.scale_forest(self.trees, float(shares[2])).pack(),
        )


@dataclass(frozen=True, eq=False)
class _Regression:
    """One target, and what it is predicted from.

    Attributes:
        matrix: hashed n-grams, and features as counted.
        features: hand-made features in standard deviations.
        target: a value for each row.
        types: job types, if used.
        weights: of the rows.
        parameters: hyperparameters.
        trees: whether to fit trees too.
    """

    matrix: FeatureMatrix
    features: Floats
    target: Floats
    types: Sequence[str] | None
    weights: Floats
    parameters: Hyperparameters
    trees: bool

    def take(self, rows: Ints) -> _Regression:
        types = [self.types[row] for row in rows] if self.types else None
        return _Regression(
            self.matrix.take(rows), self.features[rows], self.target[rows], types,
            self.weights[rows], self.parameters, self.trees,
        )  # fmt: skip

    @cached_property
    def type_means(self) -> TypeMeans:
        """The overall mean, and what each job type adds to what its words tell."""
        overall = float(np.average(self.target, weights=self.weights))
        if not self.types:
            return TypeMeans(overall, {})
        names, places = np.unique(self.types, return_inverse=True)
        bins, residual = self.matrix.bins, self.target - overall
        added = ridge.fit_types(bins, places, residual, self.weights, self.parameters.bins_penalty)
        types = dict(zip(names.tolist(), (overall + added).tolist(), strict=True))
        return TypeMeans(overall, types)

    def baseline(self, means: TypeMeans) -> Floats:
        return means.predict(self.types, len(self.target))

    def fit(self) -> BaseModels:
        """Fit the base models to the residual."""
        parameters, residual = self.parameters, self.target - self.baseline(self.type_means)
        return BaseModels(
            ridge.fit_bins(self.matrix.bins, residual, self.weights, parameters.bins_penalty),
            ridge.fit_features(self.features, residual, self.weights, parameters.features_penalty),
            boosting.fit_forest(self.features, residual, self.weights, parameters)
            if self.trees
            else Forest([]),
        )

    def out_of_fold(self) -> tuple[Floats, Floats]:
        """Return baseline and base predictions of each row by models not fitted to it."""
        baseline, predictions = np.zeros(len(self.target)), np.zeros((len(self.target), 3))
        folds = KFold(self.parameters.folds, shuffle=True, random_state=self.parameters.seed)
        for fitted, held_out in folds.split(self.target):
            train, test = self.take(fitted), self.take(held_out)
            baseline[held_out] = test.baseline(train.type_means)
            predictions[held_out] = train.fit().predict(test.matrix, test.features)
        return baseline, predictions


def fit(
    data: Dataset,
    matrix: FeatureMatrix,
    parameters: Hyperparameters,
    *,
    version: str = "new",
    note: Sequence[str] = (),
    evidence: Sequence[Evidence] = (),
) -> Weights:
    """Fit weights to these rows. The same rows and hyperparameters give the same weights."""
    weights = source_weights(data)
    scales = matrix.scales()
    features = matrix.standard(scales)

    def regression(values: Floats, *, trees: bool) -> _Regression:
        target = centred(values, data, weights)
        return _Regression(matrix, features, target, data.types, weights, parameters, trees)

    gap, gap_means = _fit_gap(regression(data.gap, trees=True))
    ok, ok_means = _fit_ok(regression(data.weak, trees=False), data.weak)
    names = sorted(set(data.types or []))
    types = {name: Prior(gap=gap_means.types[name], ok=ok_means.types[name]) for name in names}
    priors = json.loads(
        files("forebay.workers.training.fitting").joinpath("priors.json").read_text()
    )
    priors["kinds"]["generate"] = Prior(gap=gap_means.overall, ok=ok_means.overall)
    text = TextModel(scales=scales, gap=gap, ok=ok)
    return Weights(
        version=version, note=tuple(note), types=types, text=text, parts=parameters.parts,
        evidence=tuple(evidence), **priors,
    )  # fmt: skip


def base_predictions(
    data: Dataset, matrix: FeatureMatrix, parameters: Hyperparameters, fitted: Ints, held_out: Ints
) -> Floats:
    """Return what the base models predict of the gap of some rows, fitted to other rows."""
    train, known = data.take(fitted), matrix.take(fitted)
    weights, scales = source_weights(train), known.scales()
    target = centred(train.gap, train, weights)
    regression = _Regression(
        known, known.standard(scales), target, train.types, weights, parameters, trees=True
    )
    tested = matrix.take(held_out)
    return regression.fit().predict(tested, tested.standard(scales))


def _fit_gap(regression: _Regression) -> tuple[Head, TypeMeans]:
    """Return the head that predicts the gap, and the means it is added to."""
    baseline, predictions = regression.out_of_fold()
    residual = regression.target - baseline
    shares = _stack(regression.parameters.parts, predictions, residual, regression.weights)
    return regression.fit().head(shares), _rounded(regression.type_means)


def _stack(
    parts: Sequence[float], predictions: Floats, residual: Floats, weights: Floats
) -> Floats:
    """Return the factor of each base model, for the sum that predicts the residual.

    The parts are given (`choose_parts`): this carries over to new texts better than parts fitted to
    a thousand labels. One slope of their sum is fitted. A constant target gives factors of 0.
    """
    width = predictions.std(axis=0)
    factors = np.divide(parts, width, out=np.zeros(3), where=width > 0)
    combined = predictions @ factors
    size = np.average(combined**2, weights=weights)
    slope = np.average(combined * residual, weights=weights) / size if size > 0 else 0.0
    return np.asarray(factors * max(slope, MIN_SPREAD * residual.std()))


def _fit_ok(regression: _Regression, truth: Floats) -> tuple[Head, TypeMeans]:
    """Return the head that predicts the log-odds of a right answer, and what it is added to.

    A logistic regression stacks the out-of-fold baseline and predictions.
    """
    if np.ptp(truth) == 0:
        return _fit_constant(regression, truth)
    baseline, predictions = regression.out_of_fold()
    width = np.where(predictions.std(axis=0) > 0, predictions.std(axis=0), 1.0)
    rows = np.column_stack([_bounded_logit(baseline), predictions / width])
    model = LogisticRegression(C=1.0).fit(
        np.vstack([rows, rows]),
        np.repeat([1, 0], len(truth)),
        np.concatenate([regression.weights * truth, regression.weights * (1 - truth)]),
    )
    slope, *shares = model.coef_[0]
    means, intercept = regression.type_means, float(model.intercept_[0])

    def log_odds(mean: float) -> float:
        return float(slope * _bounded_logit(np.array([mean]))[0] + intercept)

    odds = TypeMeans(
        log_odds(means.overall), {name: log_odds(mean) for name, mean in means.types.items()}
    )
    return regression.fit().head(np.array(shares) / width), _rounded(odds)


def _fit_constant(regression: _Regression, truth: Floats) -> tuple[Head, TypeMeans]:
    """Return a head that adds nothing, for answers that are all right or all wrong.

    A logistic regression would let the odds grow until the solver stops. The Krichevsky-Trofimov
    estimator adds half a right and half a wrong answer (IEEE Transactions on Information Theory 27,
    1981).
    """
    chance = (truth.sum() + 0.5) / (len(truth) + 1)
    odds = logit(float(chance))
    means = TypeMeans(odds, dict.fromkeys(regression.type_means.types, odds))
    return regression.fit().head(np.zeros(len(regression.parameters.parts))), _rounded(means)


def _bounded_logit(chance: Floats) -> Floats:
    bounded = np.clip(chance, EDGE, 1 - EDGE)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _rounded(means: TypeMeans) -> TypeMeans:
    types = {name: round(mean, DECIMALS) for name, mean in means.types.items()}
    return TypeMeans(round(means.overall, DECIMALS), types)
