"""Fits the doubt model: how often is an answer wrong although another model's answer is the same?

Each ordered pair of local models is counted by job type. Where two models agree often, they are
often right: the log-odds that an agreed answer is wrong fall with the rate of agreement. A logistic
regression fits both lines, for agreed and for differing answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from forebay.routing.errors import Misconfigured
from forebay.routing.learning.agreement_rates import SHRINKAGE
from forebay.routing.scoring.doubt_model import MAX_RATE, MIN_RATE, Line, Weights
from forebay.routing.scoring.logit import logit
from forebay.routing.scoring.relatives import near_relatives
from forebay.workers.checks import final_answer
from forebay.workers.training.calibration.fit_doubt_calibration import map_fit
from forebay.workers.training.data import local_answers
from forebay.workers.training.data.columns import columns
from forebay.workers.training.data.dataset import Floats, read, require_enough

#: What is stated, not fitted: no file tells it. See `Weights`.
UNBOUNDED, USUAL_RATE, FURTHER, OWN = -0.8, 0.5, 0.75, 0.3
#: What the agreement of near relatives counts, measured on pairs of families that were left out.
NEAR = 0.55
#: Two models are a pair if their mean scores differ by no more than this. Nobody takes the opinion
#: of a far weaker model, and a far stronger one would give the answer itself.
MAX_APART = 0.12
#: The mean and standard deviation of the prior of a line's value at even rates, and of its slope.
AGREED, DIFFERED, WIDTHS = (-1.0, -1.0), (1.0, -0.3), (3.0, 0.5)
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: its agreement with another, the usual agreement, and whether it is wrong.

    `share` is what agreement with this other model counts.
    """

    uid: str
    agreement: float
    rate: float
    bounded: bool
    wrong: float
    share: float


def fit(prompts: Path, outcomes: Path, models: Sequence[str]) -> Weights:
    """Fit weights to these local models' answers (`pred`) and scores.

    Raises:
        Misconfigured: A file, a column or a model is missing, or there is too little to fit to.
    """
    types = _types(prompts)
    pairs = permutations(models, 2)
    samples = [each for pair in pairs for each in _samples(prompts, outcomes, *pair, types)]
    if not samples:
        raise Misconfigured(
            f"names no two models whose mean scores are within {MAX_APART}", field="--models"
        )
    require_enough(len({sample.uid for sample in samples}))
    if len({round(sample.wrong) for sample in samples}) == 1:
        raise Misconfigured(
            "has only right answers, or only wrong ones; the fit needs both", field="--outcomes"
        )
    return _fitted(samples)


def _types(prompts: Path) -> dict[str, str]:
    table = columns(prompts, ["uid"], optional=["job_type"])
    types = table["job_type"] if "job_type" in table else [""] * len(table)
    return {uid: name or "" for uid, name in zip(table["uid"], types, strict=True)}


def _samples(
    prompts: Path, outcomes: Path, first: str, second: str, types: dict[str, str]
) -> Iterator[Sample]:
    """Yield a sample for each answer of the first model, unless the other is no match for it."""
    data = read(prompts, outcomes, [first], [second], job_type=False)
    if abs(data.gap.mean()) > MAX_APART:
        return
    answers = local_answers.read(outcomes, data.uids, first, [second])
    agreements = answers.agreements()[:, 0]
    answered = [row for row, text in enumerate(answers.first) if text]
    share = NEAR if near_relatives(first, second) else 1.0
    rates = _rates([types[data.uids[row]] for row in answered], agreements[answered])
    for row, rate in zip(answered, rates.tolist(), strict=True):
        bounded = not final_answer.is_number(answers.first[row] or "")
        wrong = 1 - float(data.weak[row])
        yield Sample(data.uids[row], float(agreements[row]), rate, bounded, wrong, share)


def _rates(types: Sequence[str], agreements: Floats) -> Floats:
    """Return for each answer the mean agreement of its type, shrunk as a worker does."""
    _, places = np.unique(np.array(types), return_inverse=True)
    sums, counts = np.bincount(places, agreements), np.bincount(places)
    return np.asarray(((sums + SHRINKAGE * USUAL_RATE) / (counts + SHRINKAGE))[places])


def _fitted(samples: Sequence[Sample]) -> Weights:
    agreement = np.array([sample.agreement for sample in samples])
    counted = agreement * [sample.share for sample in samples]
    rates = [logit(max(MIN_RATE, min(MAX_RATE, sample.rate))) for sample in samples]
    unbounded = np.array([0.0 if sample.bounded else UNBOUNDED for sample in samples])
    inputs = np.column_stack([counted, counted * rates, 1 - agreement, (1 - agreement) * rates])
    prior = np.array([*AGREED, *DIFFERED])
    widths = np.array([*WIDTHS, *WIDTHS])
    offset = inputs @ prior + counted * unbounded
    wrong = np.array([sample.wrong for sample in samples])
    added = widths * map_fit(sp.csr_matrix(inputs * widths), offset, wrong)
    agreed, slope, differed, other_slope = np.round(prior + added, DECIMALS).tolist()
    return Weights(
        version="new", agreed=Line(at_even=agreed, slope=min(0.0, slope)),
        differed=Line(at_even=differed, slope=min(0.0, other_slope)), unbounded=UNBOUNDED,
        usual_rate=USUAL_RATE, further=FURTHER, own=OWN, near=NEAR,
    )  # fmt: skip
