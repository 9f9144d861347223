"""The shares of the text models are chosen on sources that were left out."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from forebay.routing.scoring.router_model import RouterModel, Weights
from forebay.workers.training.data.dataset import Dataset
from forebay.workers.training.fitting.choose_parts import (
    MIN_PROMPTS,
    best_by_more_than_chance,
    choose,
)
from forebay.workers.training.fitting.feature_matrix import FeatureMatrix
from forebay.workers.training.fitting.hyperparameters import MIXED, Hyperparameters

QUICK = Hyperparameters(trees=5, depth=2, rate=0.2)


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
        ([[0.50, 0.51, 0.50], [0.60, 0.61, 0.60], [0.60, 0.61, 0.60]], 1),
        ([[0.50, 0.51, 0.50], [0.60, 0.61, 0.60], [0.70, 0.71, 0.70]], 2),
        ([[0.50, 0.51, 0.50], [0.60, 0.61, 0.60], [0.55, 0.90, 0.60]], 1),
        ([[0.50, 0.60, 0.55], [0.55, 0.55, 0.55], [0.56, 0.54, 0.56]], 1),
    ],
)
def test_another_mixture_than_the_stated_one_is_taken_only_if_it_is_clearly_better(reached, chosen):
    assert best_by_more_than_chance(np.array(reached), stated=1) == chosen


def test_chance_alone_seldom_takes_another_mixture():
    draw = np.random.default_rng(0)
    rounds = [
        best_by_more_than_chance(0.55 + 0.01 * draw.standard_normal((20, 5)), stated=5)
        for _ in range(400)
    ]
    assert np.mean(np.array(rounds) != 5) < 0.06


def evidence_table(weights):
    """Return the table of the model card: the mixtures that were tried, the chosen one bold."""
    sources = list(weights.evidence[0].apgr)
    lines = [
        f"| n-grams, features, trees | mean | {' | '.join(sources)} |",
        "|---" * (len(sources) + 2) + "|",
    ]
    rows = [(fmean(tried.apgr.values()), tried) for tried in weights.evidence]
    for mean, tried in sorted(rows, key=itemgetter(0), reverse=True):
        mark = "**" if tried.parts == weights.parts else ""
        name = ", ".join(f"{part:g}" for part in tried.parts)
        figures = " | ".join(f"{tried.apgr[source]:.3f}" for source in sources)
        lines.append(f"| {mark}{name}{mark} | {mean:.4f} | {figures} |")
    return "\n".join(lines)


def test_the_model_card_shows_what_the_packaged_file_was_chosen_by():
    packaged = RouterModel.packaged
    weights = Weights.read(packaged)
    card = Path(packaged).with_name("MODEL_CARD.md").read_text()
    assert evidence_table(weights) in card
    assert f"`{weights.version}`" in card
