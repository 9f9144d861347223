"""The shares of the text models are chosen on sources that were left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forebay.routing.scoring.router_model import RouterModel, Weights
from forebay.workers.training.data.dataset import Dataset
from forebay.workers.training.evaluation.model_card import evidence_table
from forebay.workers.training.fitting.choose_parts import MIN_PROMPTS, choose, simplest_of_best
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.hyperparameters import MIXED, Hyperparameters

QUICK = Hyperparameters(trees=5, depth=2, rate=0.2)
CANDIDATES = [(0.0, 0.0, 1.0), (0.2, 0.3, 1.0), (1.0, 1.0, 1.0)]


def mixture(sources, count=MIN_PROMPTS):
    """Return prompts of several sources; in each, long prompts are hard."""
    draw = np.random.default_rng(0)
    names = [name for name in sources for _ in range(count)]
    hard = draw.random(len(names)) < 0.5
    prompts = [
        f"{name} question {number} " + "and then prove that it holds " * (9 * long + 1)
        for number, (name, long) in enumerate(zip(names, hard, strict=True))
    ]
    uids = [str(number) for number in range(len(names))]
    return Dataset(uids, prompts, None, names, 1.0 - hard, np.ones(len(names)))


def test_each_mixture_is_measured_on_each_source_that_was_left_out():
    data = mixture("abc")
    parts, evidence = choose(data, FeatureMatrix.of(data.prompts), QUICK)
    assert parts in [tried.parts for tried in evidence]
    assert all(set(tried.apgr) == {"a", "b", "c"} for tried in evidence)
    best = max(evidence, key=lambda tried: sum(tried.apgr.values()))
    assert min(best.apgr.values()) > 0.7


@pytest.mark.parametrize(("sources", "count"), [("ab", MIN_PROMPTS), ("abc", MIN_PROMPTS - 1)])
def test_too_few_or_too_small_sources_choose_nothing(sources, count):
    data = mixture(sources, count)
    assert choose(data, FeatureMatrix.of(data.prompts), QUICK) == (MIXED, ())


@pytest.mark.parametrize(
    ("reached", "chosen"),
    [
        ([[0.50, 0.50, 0.50], [0.60, 0.60, 0.60], [0.60, 0.60, 0.60]], 1),
        ([[0.50, 0.50, 0.50], [0.60, 0.60, 0.60], [0.70, 0.70, 0.70]], 2),
        ([[0.50, 0.60, 0.55], [0.60, 0.50, 0.56], [0.55, 0.55, 0.56]], 0),
    ],
)
def test_the_simplest_of_mixtures_that_are_equally_good_is_taken(reached, chosen):
    assert simplest_of_best(CANDIDATES, np.array(reached)) == chosen


def test_the_model_card_shows_what_the_packaged_file_was_chosen_by():
    packaged = RouterModel.packaged
    weights = Weights.read(packaged)
    card = Path(packaged).with_name("MODEL_CARD.md").read_text()
    assert evidence_table(weights) in card
    assert f"`{weights.version}`" in card
