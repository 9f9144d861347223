"""Refitted doubts: by kind and type with shrinkage, and kept only if they are better."""

from __future__ import annotations

import random

import numpy as np
import pytest

from forebay.routing.learning.audits import Audit
from forebay.routing.learning.calibration import Calibration
from forebay.routing.learning.doubt_calibration import doubt_groups
from forebay.routing.scoring.doubt_model import PLAIN, DoubtModel
from forebay.workers.training.calibration import fit_doubt_calibration as fitting
from forebay.workers.training.calibration.doubt_bounds import upper_bounds
from forebay.workers.training.calibration.doubt_trial import try_parts
from forebay.workers.training.data.ranking_metrics import calibration_error

MODEL = DoubtModel.load().version


def audits(count, wrong, *, kind="generate", job_type="t", second="other", seed=0):
    """Return audits of answers of which a share is wrong: `wrong` for agreeing and differing."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        agreed = draw.random() < 0.6
        base, chance = (0.2, wrong[0]) if agreed else (0.7, wrong[1])
        made.append(
            Audit(
                job=f"acme.{draw.getrandbits(128):032x}",
                tenant="acme",
                kind=kind,
                type=job_type,
                version="v",
                score=0.2,
                probability=0.6,
                model="v",
                base_score=0.2,
                base_probability=0.6,
                agreement=float(agreed) if second else None,
                base_doubt=base,
                doubt=base,
                doubt_model=MODEL if second else PLAIN,
                answered_by="small",
                second=second,
                how="compared",
                outcome=float(draw.random() >= chance),
            )
        )
    return made


def doubt(calibration, base, agreement, job_type="t", second="other", kind="generate"):
    groups = doubt_groups(kind, "small", second, job_type)
    return calibration.probability(base, agreement, groups)


def test_doubts_with_and_without_a_second_opinion_are_fitted_each_for_itself():
    known = audits(300, (0.03, 0.9)) + audits(300, (0.5, 0.5), second=None, seed=1)
    tried = try_parts(known, Calibration(model="v"), MODEL)
    assert tried.accepted == ["doubt", "second"]
    learned = tried.update["doubt"]
    assert doubt(learned, 0.2, 1.0) == pytest.approx(0.04, abs=0.03)
    assert doubt(learned, 0.7, 0.0) == pytest.approx(0.9, abs=0.05)
    assert doubt(learned, 0.2, None, second=None) == pytest.approx(0.5, abs=0.08)
    assert tried.after["second_ece"] < tried.before["second_ece"]


def test_doubts_that_are_right_are_left_alone():
    tried = try_parts(audits(1_000, (0.2, 0.7)), Calibration(model="v"), MODEL)
    assert tried.accepted == []
    assert tried.update == {}


def test_a_type_with_few_audits_follows_its_kind_and_one_with_many_itself():
    few_known = audits(400, (0.05, 0.7)) + audits(4, (1.0, 1.0), job_type="few", seed=1)
    many_known = audits(400, (0.05, 0.7)) + audits(300, (0.6, 0.95), job_type="many", seed=2)
    few_known += audits(6, (1.0, 1.0), job_type="few", seed=3)
    rows = (fitting.doubted(each, MODEL, second=True) for each in (few_known, many_known))
    few, many = (fitting.fit_doubt(each, MODEL) for each in rows)
    assert doubt(few, 0.2, 1.0) < 0.15 < doubt(few, 0.2, 1.0, "few") < 0.8
    assert doubt(many, 0.2, 1.0, "many") == pytest.approx(0.6, abs=0.1)
    assert doubt(many, 0.2, 1.0, "never seen") == pytest.approx(0.3, abs=0.2)


def test_the_agreement_of_a_weak_model_with_itself_is_learned_to_be_worth_nothing():
    known = audits(300, (0.9, 0.9), second="small")
    learned = fitting.fit_doubt(fitting.doubted(known, MODEL, second=True), MODEL)
    assert doubt(learned, 0.2, 1.0, second="small") > 0.8
    assert doubt(learned, 0.2, 1.0, second="another") == pytest.approx(0.2, abs=0.35)


def test_a_new_fit_is_compared_on_audits_newer_than_the_current_calibration():
    old = try_parts(audits(300, (0.03, 0.9)), Calibration(model="v"), MODEL).update["doubt"]
    now = Calibration(model="v", version=1, made=100.0, doubt=old)
    newer = [audit.model_copy(update={"made": 200.0}) for audit in audits(200, (0.5, 0.9), seed=5)]
    tried = try_parts([*audits(300, (0.03, 0.9)), *newer], now, MODEL)
    assert "second" in tried.accepted
    assert doubt(tried.update["doubt"], 0.2, 1.0) > doubt(old, 0.2, 1.0) + 0.1


def test_audits_of_another_doubt_model_teach_nothing():
    old = [
        audit.model_copy(update={"doubt_model": "doubt-old"}) for audit in audits(100, (0.0, 1.0))
    ]
    assert fitting.doubted(old, MODEL, second=True) == []
    assert try_parts(old, Calibration(model="v"), MODEL).accepted == []


def test_calibrated_doubts_hold_for_answers_that_the_fit_has_not_seen():
    rows = fitting.doubted(audits(1_200, (0.05, 0.85), seed=3), MODEL, second=True)
    learned = fitting.fit_doubt(rows[:300], MODEL)
    later = rows[300:]
    predicted = fitting.probabilities(later, learned)
    assert calibration_error(predicted, np.array([row.wrong for row in later])) < 0.04


def test_a_bound_says_how_many_of_the_kept_answers_may_be_wrong():
    wrong = np.array([0.0] * 57 + [1.0] * 3 + [1.0] * 40)
    (low, agreed), (high, differed) = upper_bounds(np.repeat([0.1, 0.8], [60, 40]), wrong)
    assert (low, high) == (0.1, 0.8)
    assert agreed == pytest.approx(0.109, abs=0.002)  # Clopper-Pearson, 3 of 60
    assert differed == pytest.approx(0.499, abs=0.005)  # 43 of 100


def test_all_wrong_or_all_right_answers_have_a_bound():
    doubts = np.full(30, 0.2)
    assert upper_bounds(doubts, np.ones(30)) == ((0.2, 1.0),)
    ((_, bound),) = upper_bounds(doubts, np.zeros(30))
    assert bound == pytest.approx(1 - 0.1 ** (1 / 30), abs=1e-3)


def test_the_bound_is_never_less_than_the_doubt_and_rises_with_it():
    learned = try_parts(audits(400, (0.05, 0.7)), Calibration(model="v"), MODEL).update["doubt"]
    groups = doubt_groups("generate", "small", "other", "t")
    bounds = [learned.bound(each / 100, groups) for each in range(101)]
    assert bounds == sorted(bounds)
    assert all(bound >= each / 100 for each, bound in enumerate(bounds))
    assert learned.bound(0.2, doubt_groups("extract", "small", "other", "t")) is None


def test_audits_of_escalated_answers_alone_give_no_bounds():
    known = [audit.model_copy(update={"sampled": False}) for audit in audits(400, (0.05, 0.7))]
    assert try_parts(known, Calibration(model="v"), MODEL).update["doubt"].bounds == {}


def test_in_nine_of_ten_fits_no_more_kept_answers_are_wrong_than_the_limit_says():
    """All answers have the same doubt, which is right at the limit: the worst case."""
    draw, limit = np.random.default_rng(0), 0.2
    for true_share in (0.2, 0.22):
        kept = [
            upper_bounds(np.full(120, 0.2), draw.binomial(1, true_share, 120).astype(float))[0][1]
            <= limit
            for _ in range(200)
        ]
        assert np.mean(kept) <= 0.15
