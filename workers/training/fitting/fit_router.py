"""From outcomes to the weights of `forebay.routing.scoring.router_model`.

The target is the gap, score of the frontier less score of the local answer: a question that both
get wrong is hard and still not worth a dollar. What is usual of a job type is taken off first; of
the rest three readings of the text (hashed words, hand-made features, trees) each say their part.
How much they are believed is fitted to what they say of texts that they were not fitted on.
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
from forebay.routing.scoring.router_model import Prior, Weights
from forebay.routing.scoring.text_features import TEXT_FEATURES
from forebay.routing.scoring.text_model import Grams, Head, TextModel
from forebay.routing.scoring.trees import Forest
from forebay.workers.training.data.dataset import Dataset, Floats, Ints
from forebay.workers.training.fitting import boosting, ridge
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.hyperparameters import Hyperparameters
from forebay.workers.training.fitting.type_means import TypeMeans, centred, source_weights

PLACES = 6  # decimals of a weight in the file
MIN_SPREAD = (
    0.02  # standard deviations of the target that they say at the least: there is a ranking
)
EDGE = 0.02  # chances are kept so far from 0 and 1


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What is fitted to one target on some rows."""

    grams: Floats
    line: Floats
    trees: Forest

    def columns(self, looks: FeatureMatrix, features: Floats) -> Floats:
        """What each says of each row."""
        said = boosting.said(self.trees, features)
        return np.column_stack([looks.bins @ self.grams, features @ self.line, said])

    def head(self, shares: Floats) -> Head:
        """Their sum, each with its share."""
        line = self.line * shares[1]
        return Head(
            grams=Grams.pack((self.grams * shares[0]).tolist()),
            features={n: round(float(w), PLACES) for n, w in zip(TEXT_FEATURES, line, strict=True)},
            trees=boosting.scaled(self.trees, float(shares[2])).pack(),
        )


@dataclass(frozen=True, eq=False)
class _Problem:
    """One target, and what it is told from."""

    looks: FeatureMatrix
    features: Floats
    target: Floats
    types: Sequence[str] | None
    weights: Floats
    recipe: Hyperparameters
    trees: bool

    def take(self, rows: Ints) -> _Problem:
        types = [self.types[row] for row in rows] if self.types else None
        return _Problem(
            self.looks.take(rows), self.features[rows], self.target[rows], types,
            self.weights[rows], self.recipe, self.trees,
        )  # fmt: skip

    @cached_property
    def usual(self) -> TypeMeans:
        """The mean, and what is usual of a job type beside what its words tell."""
        everywhere = float(np.average(self.target, weights=self.weights))
        if not self.types:
            return TypeMeans(everywhere, {})
        names, places = np.unique(self.types, return_inverse=True)
        bins, rest = self.looks.bins, self.target - everywhere
        more = ridge.on_types(bins, places, rest, self.weights, self.recipe.bins_penalty)
        types = dict(zip(names.tolist(), (everywhere + more).tolist(), strict=True))
        return TypeMeans(everywhere, types)

    def base(self, usual: TypeMeans) -> Floats:
        return usual.at(self.types, len(self.target))

    def readings(self) -> Readings:
        recipe, rest = self.recipe, self.target - self.base(self.usual)
        return Readings(
            ridge.on_bins(self.looks.bins, rest, self.weights, recipe.bins_penalty),
            ridge.on_features(self.features, rest, self.weights, recipe.features_penalty),
            boosting.forest(self.features, rest, self.weights, recipe)
            if self.trees
            else Forest([]),
        )

    def unseen(self) -> tuple[Floats, Floats]:
        """What is usual, and what the readings say, of rows that neither was fitted on."""
        base, columns = np.zeros(len(self.target)), np.zeros((len(self.target), 3))
        folds = KFold(self.recipe.folds, shuffle=True, random_state=self.recipe.seed)
        for seen, rest in folds.split(self.target):
            known, other = self.take(seen), self.take(rest)
            base[rest] = other.base(known.usual)
            columns[rest] = known.readings().columns(other.looks, other.features)
        return base, columns


def fit(
    data: Dataset,
    looks: FeatureMatrix,
    recipe: Hyperparameters,
    *,
    version: str = "new",
    note: Sequence[str] = (),
) -> Weights:
    """Weights fitted on these rows; the same for the same rows and recipe."""
    weights = source_weights(data)
    scales = looks.scales()
    features = looks.standard(scales)

    def problem(values: Floats, *, trees: bool) -> _Problem:
        target = centred(values, data, weights)
        return _Problem(looks, features, target, data.types, weights, recipe, trees)

    gap, usual_gap = _gap(problem(data.gap, trees=True))
    ok, usual_ok = _ok(problem(data.weak, trees=False), data.weak)
    names = sorted(set(data.types or []))
    types = {name: Prior(gap=usual_gap.types[name], ok=usual_ok.types[name]) for name in names}
    stated = json.loads(
        files("forebay.workers.training.fitting").joinpath("priors.json").read_text()
    )
    stated["kinds"]["generate"] = Prior(gap=usual_gap.everywhere, ok=usual_ok.everywhere)
    text = TextModel(scales=scales, gap=gap, ok=ok)
    return Weights(version=version, note=tuple(note), types=types, text=text, **stated)


def _gap(problem: _Problem) -> tuple[Head, TypeMeans]:
    """The head of the gap, and what is usual."""
    base, columns = problem.unseen()
    shares = _shares(problem.recipe.parts, columns, problem.target - base, problem.weights)
    return problem.readings().head(shares), _rounded(problem.usual)


def _shares(parts: Sequence[float], columns: Floats, rest: Floats, weights: Floats) -> Floats:
    """What to multiply each reading with, so that their sum foretells unseen texts.

    Their parts are fixed, which holds better for new texts than parts fitted to a thousand labels;
    one slope for their sum is fitted. Where the target is the same everywhere they say nothing.
    """
    width = columns.std(axis=0)
    each = np.divide(parts, width, out=np.zeros(3), where=width > 0)
    said = columns @ each
    size = np.average(said**2, weights=weights)
    slope = np.average(said * rest, weights=weights) / size if size > 0 else 0.0
    return np.asarray(each * max(slope, MIN_SPREAD * rest.std()))


def _ok(problem: _Problem, truth: Floats) -> tuple[Head, TypeMeans]:
    """The head of the log-odds, and what is usual: a logistic model of unseen rows' readings."""
    if np.ptp(truth) == 0:
        return _settled(problem, truth)
    base, columns = problem.unseen()
    width = np.where(columns.std(axis=0) > 0, columns.std(axis=0), 1.0)
    rows = np.column_stack([_logit(base), columns / width])
    model = LogisticRegression(C=1.0).fit(
        np.vstack([rows, rows]),
        np.repeat([1, 0], len(truth)),
        np.concatenate([problem.weights * truth, problem.weights * (1 - truth)]),
    )
    slope, *shares = model.coef_[0]
    usual, start = problem.usual, float(model.intercept_[0])

    def line(mean: float) -> float:
        return float(slope * _logit(np.array([mean]))[0] + start)

    odds = TypeMeans(
        line(usual.everywhere), {name: line(mean) for name, mean in usual.types.items()}
    )
    return problem.readings().head(np.array(shares) / width), _rounded(odds)


def _settled(problem: _Problem, truth: Floats) -> tuple[Head, TypeMeans]:
    """Where all is alike a text says nothing, and the odds would grow until the solver stops.

    So half an answer that will do and half a one that will not are added (Krichevsky and Trofimov,
    IEEE Transactions on Information Theory 27, 1981).
    """
    chance = (truth.sum() + 0.5) / (len(truth) + 1)
    odds = logit(float(chance))
    usual = TypeMeans(odds, dict.fromkeys(problem.usual.types, odds))
    return problem.readings().head(np.zeros(len(problem.recipe.parts))), _rounded(usual)


def _logit(chance: Floats) -> Floats:
    kept = np.clip(chance, EDGE, 1 - EDGE)
    return np.asarray(np.log(kept / (1 - kept)))


def _rounded(usual: TypeMeans) -> TypeMeans:
    types = {name: round(mean, PLACES) for name, mean in usual.types.items()}
    return TypeMeans(round(usual.everywhere, PLACES), types)
