"""Rank answered jobs by each rule, and measure the quality that the rule reaches.

`forebay.workers.training.data.ranking_metrics` defines the curve, its area (APGR) and the recovered
gap. Jobs that a rule ranks equal go up in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from forebay.workers.training.data.dataset import Floats
from forebay.workers.training.data.ranking_metrics import STEPS, Ranked

SHARES = (0.1, 0.2, 0.3, 0.5)
ROUNDS, SEED = 1_000, 0  # bootstrap samples
BESIDE = "verdict"  # the rule that the others are compared with


@dataclass(frozen=True)
class Row:
    """The quality of one job's answers, 0 to 1, and what the rules know about them.

    Attributes:
        local, frontier: the quality of each lane's answer.
        realised, went: the quality under the default policy, and if the frontier answered.
        odds, gain: the verdict's probability that the local answer will do, and its score.
        failed: there is no local answer, or it failed a check.
        doubt: the probability that the local answer is wrong; 1 if it failed.
        agreement: with a second answer; None if there was none, or the first failed.
        weights: the versions of the router model and the doubt model.
    """

    source: str
    kind: str
    local: float
    frontier: float
    odds: float
    gain: float
    failed: bool
    doubt: float
    agreement: float | None
    realised: float
    went: bool
    weights: Sequence[str]

    @property
    def differs(self) -> float:
        """Return how far a second answer differs, 0 to 1; 0 if there is none."""
        return 0.0 if self.agreement is None else 1.0 - self.agreement


#: Jobs go up from the largest value down; the next number breaks ties.
Rule = Callable[[Row], tuple[float, ...]]
RULES: dict[str, Rule] = {
    "random": lambda _: (),
    "verdict": lambda row: (row.gain,),
    "verdict's odds": lambda row: (-row.odds,),
    "checks": lambda row: (row.failed,),
    "checks + second": lambda row: (row.failed, row.differs, row.gain),
    "checks + doubt": lambda row: (row.failed, row.doubt),
    "oracle": lambda row: (row.frontier - row.local,),
}


def curve(rows: Sequence[Row], rule: Rule) -> list[tuple[float, float]]:
    """Return points of (share that goes up, mean quality), one for each per cent."""
    shares = np.linspace(0, 1, 101)
    return list(zip(shares.tolist(), _quality(rows, rule, shares).tolist(), strict=True))


def show(rows: Sequence[Row]) -> None:
    """Print a table of all jobs, of each source, and of each source's kinds."""
    sources = list(dict.fromkeys(row.source for row in rows))
    print(f"weights: {', '.join(sorted({name for row in rows for name in row.weights}))}")
    for source in ("all", *sources) if len(sources) > 1 else sources:
        some = [row for row in rows if source in ("all", row.source)]
        _table(source, some)
        kinds = sorted({row.kind for row in some})
        for kind in kinds if source != "all" and len(kinds) > 1 else ():
            _table(f"{source}, {kind}", [row for row in some if row.kind == kind])


def _table(title: str, rows: Sequence[Row]) -> None:
    weak, strong = fmean(row.local for row in rows), fmean(row.frontier for row in rows)
    print(f"\n{title}: {len(rows)} jobs, local {weak:.3f}, frontier {strong:.3f}")
    marks = "".join(f"{100 * share:6.0f} %" for share in SHARES)
    print(f"{'':16}{'APGR (95 %)':>23}{f'less {BESIDE}':>23}{marks}")
    areas = {name: _areas(ranked(rows, rule)) for name, rule in RULES.items()}
    for name, rule in RULES.items():
        own, less = (_interval(each) for each in (areas[name], areas[name] - areas[BESIDE]))
        reached = "".join(f"{each:8.3f}" for each in _quality(rows, rule, np.array(SHARES)))
        print(f"{name:16}{own:>23}{'' if name == BESIDE else less:>23}{reached}")
    went, realised = fmean(row.went for row in rows), fmean(row.realised for row in rows)
    print(f"{'default policy':16} {100 * went:.0f} % went up: {realised:.3f}")


def ranked(rows: Sequence[Row], rule: Rule) -> Ranked:
    """Return the jobs in a rule's order."""
    keys = [rule(row) for row in rows]
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    score, weak, strong = (
        np.array(column, dtype=float)
        for column in (
            [places[key] for key in keys],
            [row.local for row in rows],
            [row.frontier for row in rows],
        )
    )
    return Ranked(score, weak, strong)


def _quality(rows: Sequence[Row], rule: Rule, shares: Floats) -> Floats:
    jobs = ranked(rows, rule)
    recovered = jobs.recovered(np.ones(len(rows)), shares)
    return np.asarray(jobs.weak.mean() + recovered * (jobs.strong.mean() - jobs.weak.mean()))


def _areas(jobs: Ranked) -> Floats:
    """Return the APGR of the jobs, then of bootstrap samples of them.

    Every rule gets the same samples, so that two rules can be compared by their difference.
    """
    draw, size, shares = np.random.default_rng(SEED), len(jobs.score), np.linspace(0, 1, STEPS + 1)
    samples = [np.bincount(draw.integers(0, size, size), minlength=size) for _ in range(ROUNDS)]
    counts = [np.ones(size), *samples]
    with np.errstate(divide="ignore", invalid="ignore"):  # a sample without a gap has no APGR
        return np.array([np.trapezoid(jobs.recovered(each, shares), shares) for each in counts])


def _interval(values: Floats) -> str:
    """Return the first value and the 95 % interval of the others."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.2f} ({low:.2f} to {high:.2f})"
