"""Measure what share of the answers that `max_doubt` keeps is wrong, after 300 audits.

`python tests/benchmarks/kept_answers.py --draws 200` draws the audits anew each time, calibrates on
them and measures on 600 later answers, side by side: the limit compared with the doubt, and with
its bound. "Perfect" is the noise of as many answers that are wrong with the limit's chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import numpy.typing as npt

from forebay.routing.learning.agreement_rates import SHRINKAGE
from forebay.routing.learning.doubt_calibration import doubt_groups
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.workers.training.calibration.doubt_bounds import with_bounds
from forebay.workers.training.calibration.fit_doubt_calibration import Doubted, fit_doubt

OUTCOMES = Path(__file__).resolve().parents[2] / "tests/support/replayed_outcomes.json"
AUDITS, LATER = 300, 600
LIMITS = (0.05, 0.1, 0.2, 0.3)
TOLERANCE = 0.02

MODEL = DoubtModel.load()

Codes = npt.NDArray[np.int64]  # of outcomes: 2 for agreement, and 1 for a wrong answer
Drawn = tuple[Codes, list[Doubted]]
Kept = tuple[int, int]  # how many answers were kept, and how many of these were wrong


def rows_of(outcomes: Codes, model: DoubtModel, *, bounded: bool) -> list[Doubted]:
    """Return the outcomes as a worker sees them that counts how often the models agree."""
    rows, agreed = [], 0.0
    groups = doubt_groups("generate", "a", "b", "type")
    for number, outcome in enumerate(outcomes):
        agreement = float(outcome & 2 > 0)
        rate = (agreed + SHRINKAGE * model.usual_rate) / (number + SHRINKAGE)
        known = Evidence("generate", 0.5, agreements=(agreement,), rates=(rate,), bounded=bounded)
        base = model.probability(known)
        rows.append(Doubted(str(number), 0, base, agreement, groups, float(outcome & 1)))
        agreed += agreement
    return rows


def kept(rows: Sequence[Doubted], model: DoubtModel) -> dict[tuple[str, float], Kept]:
    """Calibrate on the first rows; return what each rule keeps of the others, by limit."""
    fitted = with_bounds(rows[:AUDITS], fit_doubt(rows[:AUDITS], model.version))
    found: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows[AUDITS : AUDITS + LATER]:
        doubt = fitted.probability(row.base, row.agreement, row.groups)
        bound = fitted.bound(doubt, row.groups)
        for rule, compared in (("doubt", doubt), ("bound", doubt if bound is None else bound)):
            for limit in LIMITS:
                found[rule, limit] += [row.wrong] if compared <= limit else []
    return {key: (len(wrong), int(sum(wrong))) for key, wrong in found.items()}


def line(rule: str, limit: float, results: Sequence[Kept], draw: np.random.Generator) -> str:
    """Return what one rule did with one limit over all draws, as a row of a table."""
    shares = np.array([wrong / number for number, wrong in results if number])
    number = int(np.mean([number for number, _ in results if number])) if len(shares) else 0
    within = np.mean([wrong <= (limit + TOLERANCE) * number for number, wrong in results])
    if not len(shares):
        return f"| {rule} | {limit:g} | 0 % | none | none | {within:.0%} |"
    middle, low, high = np.quantile(shares, [0.5, 0.05, 0.95])
    perfect = np.quantile(draw.binomial(number, limit, 10_000) / number, [0.05, 0.95])
    return (
        f"| {rule} | {limit:g} | {len(shares) / len(results):.0%} | {middle:.3f} ({low:.3f} to "
        f"{high:.3f}) | {perfect[0]:.3f} to {perfect[1]:.3f} | {within:.0%} |"
    )


def replayed(doc: str | None, later: int) -> Iterator[tuple[str, Codes, Iterator[Drawn]]]:
    """Read `--draws`; yield each source's name, its outcomes, and as many draws of them.

    A draw holds the audits, then `later` answers. It is made with replacement: else luck in the
    audits would be bad luck in the later answers.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--draws", type=int, default=200)
    number, draw = parser.parse_args().draws, np.random.default_rng(0)
    for name, text in json.loads(OUTCOMES.read_text())["outcomes"].items():
        known = np.array([int(code) for code in text])
        chosen = (draw.choice(known, AUDITS + later) for _ in range(number))
        bounded = name.startswith("mmlu")
        yield name, known, ((codes, rows_of(codes, MODEL, bounded=bounded)) for codes in chosen)


def main() -> None:
    """Print a table for each source."""
    noise = np.random.default_rng(1)
    for name, _, draws in replayed(__doc__, LATER):
        results = [kept(rows, MODEL) for _, rows in draws]
        print(f"\n{name}\n\n| compared | limit | keeps any | wrong of kept | perfect | within |")
        print("|---|---|---|---|---|---|")
        for key in sorted(results[0]):
            print(line(*key, [result[key] for result in results], noise), flush=True)


if __name__ == "__main__":
    main()
