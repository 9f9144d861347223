"""Simulate a day of traffic through the real pacing controller, budgets and books.

    python tests/benchmarks/day.py --html report.html

A day has 50,000 jobs of four kinds and three tenants, more by day than by night, and harder in the
evening. The target is a tenth of the jobs, the budget of the fleet $20. Only the models are
simulated: whether a job goes up is decided by `Pacer`, what it may cost is reserved and settled by
`Budget`, and the report is that of `forebay report`, all in a real Redis. Printed are the share
that went up, what was spent at most, and how well the hardest jobs were found: Spearman's rank
correlation of difficulty and going up, beside that of a choice that knows each difficulty.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy"), str(ROOT / "tests" / "support")]

from forebay.routing.base import NANO  # noqa: E402
from forebay.routing.books.job_book import JobBook  # noqa: E402
from forebay.routing.books.job_counts import JobGroup, job_counts, up_count  # noqa: E402
from forebay.routing.errors import BudgetExceeded  # noqa: E402
from forebay.routing.jobs import Job  # noqa: E402
from forebay.routing.limits.allowances import limits  # noqa: E402
from forebay.routing.limits.budget import Budget  # noqa: E402
from forebay.routing.limits.pacing import Pacer  # noqa: E402
from forebay.routing.limits.prices import Prices, Usage  # noqa: E402
from forebay.routing.policy.policy_file import Fleet as FleetRules  # noqa: E402
from forebay.routing.policy.policy_file import Policy, TenantPolicy  # noqa: E402
from forebay.routing.policy.tables import PacePolicy  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - of the paths above

DAY_S, HOUR_S = 86_400, 3_600
SHARE, BUDGET_USD = 0.1, 20.0
AT_ONCE = 16  # calls that run
BEHIND = 40  # jobs that arrive while a job is answered locally
TENANTS = ("acme", "brook", "cedar")
CHAT = {"kind": "generate", "messages": [{"role": "user", "content": "why"}]}
#: By kind: a request, its share of the jobs, and the Beta distribution of the difficulty.
KINDS = {
    "classify": ({"kind": "classify", "text": "t", "labels": ["a", "b"]}, 5, (0.6, 4.0)),
    "extract": ({"kind": "extract", "text": "t", "schema": {"type": "object"}}, 2, (1.0, 3.0)),
    "summarize": ({"kind": "summarize", "text": "t"}, 2, (0.8, 3.5)),
    "generate": (CHAT, 1, (1.5, 2.5)),
}
#: Of the arrivals, by the hour.
DAY_SHAPE = (1, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 8, 9, 10, 10, 9, 8, 6, 5, 4, 3, 2, 1)
LOCAL = "local 8B"
PRICES = Prices.load()


@dataclass(frozen=True)
class Arrival:
    """A job of the day: when it comes, how hard it is, and what it would cost to send it up."""

    at_s: float
    job: Job
    difficulty: float
    before: float
    after: float
    fails: bool
    usage: Usage


@dataclass
class Day:
    """What became of the jobs of a day. `most_nusd` is the most that was spent and reserved.

    `bound` are the times at which the first and the last call was refused, in seconds of the day.
    """

    went: dict[str, bool] = field(default_factory=dict)
    most_nusd: int = 0
    settled_nusd: int = 0
    refused: int = 0
    bound: tuple[float, float] | None = None


def arrivals(count: int, dice: random.Random) -> Iterator[Arrival]:
    """Yield the jobs of a day in the order of their arrival."""
    hours = dice.choices(range(24), DAY_SHAPE, k=count)
    for at_s in sorted((hour + dice.random()) * HOUR_S for hour in hours):
        kind = dice.choices(list(KINDS), [share for _, share, _ in KINDS.values()])[0]
        request, _, (a, b) = KINDS[kind]
        evening = 0.15 if at_s > 18 * HOUR_S else 0.0
        difficulty = min(1.0, dice.betavariate(a, b) + evening * dice.random())
        tenant = dice.choices(TENANTS, (6, 3, 1))[0]
        job = Job(
            id=f"{tenant}.{dice.getrandbits(128):032x}", tenant=tenant, request=request,
            egress="allow",
        )  # fmt: skip
        yield Arrival(
            at_s, job, difficulty,
            before=difficulty + dice.gauss(0, 0.15), after=difficulty + dice.gauss(0, 0.07),
            fails=dice.random() < 0.04 * difficulty,
            usage=Usage(round(dice.lognormvariate(7.0, 0.5)), round(dice.lognormvariate(5.0, 0.5))),
        )  # fmt: skip


class Simulation:
    """One day through the real controllers."""

    def __init__(self, client: redis.Redis, model: str, midnight: float) -> None:
        self.day = Day()
        self._model, self._midnight = model, midnight
        self._rules = Policy(
            defaults=TenantPolicy(
                pace=PacePolicy(share=SHARE), daily_budget_usd=BUDGET_USD, models=(model,)
            ),
            fleet=FleetRules(daily_budget_usd=BUDGET_USD),
        )
        self._now = 0.0
        self._pacer = Pacer(client, now=lambda: self._midnight + self._now)
        self._budget, self._book = Budget(client), JobBook(client)
        self._open: deque[Arrival] = deque()
        self._local: deque[Arrival] = deque()
        self._counts: dict[int, Counter[str]] = defaultdict(Counter)

    def run(self, jobs: Sequence[Arrival]) -> Day:
        """Offer all jobs, and settle all calls."""
        for arrival in jobs:
            self._now = arrival.at_s
            pace = self._pacer.offer(arrival.job, self._rules, "before", arrival.before)
            assert pace is not None
            if pace.go:
                self._send(arrival, "verdict_hard")
            else:
                self._local.append(arrival)
            if len(self._local) > BEHIND:
                self._answered(self._local.popleft())
        while self._local:
            self._answered(self._local.popleft())
        while self._open:
            self._settle(self._open.popleft())
        for hour, counts in self._counts.items():
            self._book.add(counts, self._midnight + hour * HOUR_S)
        return self.day

    def _answered(self, arrival: Arrival) -> None:
        """Keep a local answer, or send its job up."""
        if arrival.fails:
            self._pacer.hard(arrival.job, self._rules)
            self._send(arrival, "check_failed:schema")
            return
        pace = self._pacer.offer(arrival.job, self._rules, "after", arrival.after)
        assert pace is not None
        if pace.go:
            self._send(arrival, "doubted")
        else:
            self._keep(arrival)

    def _send(self, arrival: Arrival, reason: str) -> None:
        """Reserve the worst case of a call and begin it; without the money, the job stays."""
        if len(self._open) == AT_ONCE:
            self._settle(self._open.popleft())
        job, usage = arrival.job, arrival.usage
        worst_nusd = PRICES.worst_case(self._model, 4 * usage.input, 4 * usage.output)
        try:
            self._budget.reserve(
                job.id, job.id, job.tenant, worst_nusd, term_s=600,
                limits_at=lambda at_s: limits(self._rules, job.tenant, self._model, at_s),
                terms={"model": self._model, "base": self._model, "purpose": "answer"},
            )  # fmt: skip
        except BudgetExceeded:
            self.day.refused += 1
            self.day.bound = (self.day.bound or (self._now,))[0], self._now
            self._keep(arrival, degraded=1)
            return
        self.day.went[job.id] = True
        self._counts[int(arrival.at_s // HOUR_S)][up_count(job.tenant, job.kind, reason)] += 1
        self._open.append(arrival)
        self.day.most_nusd = max(self.day.most_nusd, sum(self._budget.spent()))

    def _settle(self, arrival: Arrival) -> None:
        job, usage = arrival.job, arrival.usage
        nusd = PRICES.cost(self._model, usage)
        self._budget.settle(job.id, nusd, bill={"tier": "default", "stand_in": False})
        self.day.settled_nusd += nusd
        group = JobGroup(job.tenant, job.kind, "allow", "done", "bedrock", self._model)
        self._count(arrival, group, nusd=nusd)

    def _keep(self, arrival: Arrival, *, degraded: int = 0) -> None:
        job = arrival.job
        self.day.went.setdefault(job.id, False)
        group = JobGroup(job.tenant, job.kind, "allow", "done", "local", LOCAL)
        self._count(arrival, group, degraded=degraded)

    def _count(self, arrival: Arrival, group: JobGroup, **numbers: int) -> None:
        usage = arrival.usage
        self._counts[int(arrival.at_s // HOUR_S)].update(
            job_counts(group, jobs=1, tokens_in=usage.input, tokens_out=usage.output, **numbers)
        )


def spearman(ranked: Sequence[float], went: Sequence[bool]) -> float:
    """Return the rank correlation of numbers and of a yes or no."""
    order = sorted(range(len(ranked)), key=ranked.__getitem__)
    ranks = [0.0] * len(ranked)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return statistics.correlation(ranks, [float(each) for each in went])


def found(jobs: Sequence[Arrival], went: dict[str, bool]) -> tuple[float, float]:
    """Return the correlation of difficulty and going up, and the best there is; mean of kinds."""
    ours, best, weights = [], [], []
    for kind in KINDS:
        own = [arrival for arrival in jobs if arrival.job.kind == kind]
        ups = [went[arrival.job.id] for arrival in own]
        if not 0 < sum(ups) < len(ups):
            continue
        hardness = [arrival.difficulty for arrival in own]
        least = sorted(hardness, reverse=True)[sum(ups) - 1]
        ours.append(spearman(hardness, ups))
        best.append(spearman(hardness, [each >= least for each in hardness]))
        weights.append(len(own))
    mean = lambda values: statistics.fmean(values, weights)  # noqa: E731 - of three words
    return (mean(ours), mean(best)) if ours else (0.0, 0.0)


def main() -> None:
    """Print a line for each day, and the report of the first."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--html", type=Path, help="write the report of the first day as a page")
    options = parser.parse_args()
    jobs = list(arrivals(options.jobs, random.Random(options.seed)))
    print(
        f"{'model':>28} {'jobs':>7} {'went up':>8} {'at most':>8} {'settled':>8} {'refused':>7} "
        f"{'rank corr.':>10} {'best':>5}"
    )
    models = ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-sonnet-5-5")
    for number, model in enumerate(models):
        with tempfile.TemporaryDirectory() as name, Fleet(Path(name)) as fleet:
            fleet.start_redis()
            with redis.Redis.from_url(fleet.url) as client:
                # The report shows whole hours that are over: those of yesterday.
                midnight = (time.time() // DAY_S - 1) * DAY_S
                day = Simulation(client, model, midnight).run(jobs)
            _print(model, jobs, day)
            if not number:
                _report(fleet.url, model, options.html)


def _print(model: str, jobs: Sequence[Arrival], day: Day) -> None:
    ours, best = found(jobs, day.went)
    print(
        f"{model[:28]:>28} {len(jobs):7,} {sum(day.went.values()) / len(jobs):8.2%} "
        f"${day.most_nusd / NANO:7.3f} ${day.settled_nusd / NANO:7.3f} {day.refused:7,} "
        f"{ours:10.2f} {best:5.2f}",
        flush=True,
    )
    if day.bound:
        first, last = (
            f"{int(at_s // HOUR_S):02}:{int(at_s % HOUR_S // 60):02}" for at_s in day.bound
        )
        print(f"{'':28} the fleet's budget of the day refused calls from {first} to {last}")
    if day.most_nusd > BUDGET_USD * NANO:
        sys.exit("the budget was passed")


def _report(url: str, model: str, html: Path | None) -> None:
    """Print `forebay report`, and write it as a page if a file is named."""
    command = [sys.executable, "-m", "forebay.producers.cli.main", "report", "--since", "2d"]
    command += ["--frontier", model, "--by", "kind"]
    if html is not None:
        command += ["--html", str(html.resolve())]
    with tempfile.TemporaryDirectory() as name:
        policy = Path(name) / "policy.toml"
        policy.write_text(f"[defaults.pace]\nshare = {SHARE}\n")
        environment = {
            **os.environ, "FOREBAY_REDIS_URL": url, "FOREBAY_POLICY_FILE": str(policy),
            "PYTHONPATH": str(ROOT / "src"),
        }  # fmt: skip
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
