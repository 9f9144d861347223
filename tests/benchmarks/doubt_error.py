"""Measure how far the doubt is from the truth after 300 audits, beside what is possible.

`python tests/benchmarks/doubt_error.py --draws 200` draws 300 audits and 500 later answers of each
source with replacement. On the same draws: the calibrated doubt, the shares of wrong answers among
the audits (no model and no prior), and a perfect probability, whose error is that of counting.
"""

from __future__ import annotations

import numpy as np
from kept_answers import AUDITS, MODEL, Codes, replayed

from forebay.workers.training.calibration.fit_doubt_calibration import (
    Doubted,
    fit_doubt,
    probabilities,
)
from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.data.ranking_metrics import calibration_error

LATER, LIMIT = 500, 0.05
Shares = tuple[float, float]  # of wrong answers among those that differ, and those that agree


def shares(outcomes: Codes) -> Shares:
    """Return the shares of wrong answers in outcomes (2 for agreement, and 1 for a wrong one)."""
    agreed, wrong = outcomes >= 2, outcomes % 2
    return float(wrong[~agreed].mean()), float(wrong[agreed].mean())


def errors(rows: list[Doubted], outcomes: Codes, truth: Shares, model: str) -> list[float]:
    """Return the errors of all three, then those of the first two against the true shares."""
    later, agreed = rows[AUDITS:], (outcomes[AUDITS:] >= 2).astype(int)
    wrong, members = outcomes[AUDITS:] % 2, [agreed == 0, agreed == 1]
    doubts = probabilities(later, fit_doubt(rows[:AUDITS], model))
    made = [doubts, np.array(shares(outcomes[:AUDITS]))[agreed], np.array(truth)[agreed]]

    def error(told: Floats, true: Floats) -> float:
        return sum(abs((told - true)[group].sum()) for group in members) / len(later)

    bins = [calibration_error(each, wrong) for each in (doubts, jittered(made[2]))]
    return [*(error(each, wrong) for each in made), *(error(each, made[2]) for each in made[:2]),
            *bins]  # fmt: skip


def jittered(told: Floats) -> Floats:
    """Return probabilities of which no two are equal, as those of a fleet are."""
    return told + 1e-9 * np.arange(len(told))


NAMES = (
    "calibrated doubt", "shares of the audits", "perfect",
    "calibrated doubt, against the true shares", "shares of the audits, against the true shares",
    "calibrated doubt, in ten bins", "perfect, in ten bins",
)  # fmt: skip


def main() -> None:
    """Print a table for each source."""
    for name, known, draws in replayed(__doc__, LATER):
        truth = shares(known)
        found = [errors(rows, codes, truth, MODEL.version) for codes, rows in draws]
        print(f"\n{name}\n\n| | mean | 19 of 20 below | above {LIMIT} |\n|---|---|---|---|")
        for label, column in zip(NAMES, np.array(found).T, strict=True):
            high, above = np.quantile(column, 0.95), (column > LIMIT).mean()
            print(f"| {label} | {column.mean():.3f} | {high:.3f} | {above:.0%} |", flush=True)


if __name__ == "__main__":
    main()
