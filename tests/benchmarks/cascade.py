"""Quality against the share of jobs that go up to Bedrock, through the whole fleet, on the CPU.

`make bench-cascade`, or `python tests/benchmarks/cascade.py --jobs 180 --curve cascade.svg`. The
local lane is the packaged small model, in its own process; the frontier is the stand-in, which
knows the right answers and gives them in a stated share of cases. Every job is answered by both
lanes, so that each rule's curve is exact; then the same jobs run once more under the default
policy, to see where the fleet itself ends up.

Rules: `random`; `verdict` (before the answer); `checks` (of the local answer); `checks + doubt`
(failed ones first, then what the second opinion and all else make doubtful). A rule that cannot
tell two jobs apart sends either first, in the mean.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy"), str(ROOT / "tests" / "benchmarks")]

from curves import draw  # noqa: E402 - found by the line above
from labelled import Labelled, generated, samples  # noqa: E402

from fleet import STANDIN_ENV, Fleet  # noqa: E402
from producers.client import Client, Outcome  # noqa: E402
from routing.jobs import Answer, Classification, Extract, Extraction, Generation  # noqa: E402
from routing.settings import Settings  # noqa: E402
from standin import KEY_PAIR, StandIn  # noqa: E402
from workers import agreement  # noqa: E402

TIMEOUT_S = 3_000.0
KINDS = ("classify", "extract", "generate")
POLICY = """
[defaults]
daily_budget_usd = inf
[fleet]
daily_budget_usd = inf
[tenants.twice.second_opinion]
deny_too = true
stop_at_depth = 1e9
extract = 1.0
generate = 1.0
prose = 1.0
[tenants.default.second_opinion]
stop_at_depth = 1e9
"""


@dataclass(frozen=True)
class Row:
    """What one job's answers are worth, 0 to 1, and what the rules know of them."""

    kind: str
    local: float
    frontier: float
    verdict: float
    failed: bool
    doubt: float
    agreement: float | None
    realised: float
    went: bool


Rule = Callable[[Row], float]
RULES: dict[str, Rule] = {
    "random": lambda _: 0.0,
    "verdict": lambda row: -row.verdict,
    "checks": lambda row: float(row.failed),
    "checks + doubt": lambda row: 2.0 if row.failed else row.doubt,
    "oracle": lambda row: row.frontier - row.local,
}


def main() -> None:
    """Run the jobs, or read the rows of an earlier run, and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=180, help="made from templates, beside samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accuracy", type=float, default=0.95, help="of the frontier")
    parser.add_argument("--rows", type=Path, help="written here, or read where it exists")
    parser.add_argument("--curve", type=Path, help="an image of the curves (extra `router`)")
    options = parser.parse_args()
    if options.rows and options.rows.exists():
        rows = [Row(**one) for one in json.loads(options.rows.read_text())]
    else:
        rows = measured(options.jobs, options.seed, options.accuracy)
    if options.rows:
        options.rows.write_text(json.dumps([asdict(row) for row in rows]))
    show(rows)
    if options.curve:
        draw({name: curve(rows, rule) for name, rule in RULES.items()}, options.curve)


# --- measuring ----------------------------------------------------------------------------------


def measured(jobs: int, seed: int, accuracy: float) -> list[Row]:
    """Each job answered by both lanes, and once more as the default policy has it."""
    asked = [*generated(jobs, seed), *samples(ROOT / "deploy" / "samples.jsonl")]
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), asked, accuracy) as fleet:
        local = answered(fleet, asked, "twice", egress="deny")
        frontier = answered(fleet, asked, "default", egress="allow", lane="bedrock")
        free = answered(fleet, asked, "default", egress="allow")
    both = zip(asked, local, frontier, free, strict=True)
    return [_row(*each) for each in both]


@contextmanager
def running(folder: Path, asked: Sequence[Labelled], accuracy: float) -> Iterator[Fleet]:
    """A fleet whose stand-in is right in this share of cases."""
    known, policy = folder / "known.jsonl", folder / "policy.toml"
    known.write_text("".join(_known(one, accuracy, at) for at, one in enumerate(asked)))
    policy.write_text(POLICY)
    env = {"FOREBAY_POLICY_FILE": str(policy), "FOREBAY_LEASE_S": "60"}
    with Fleet(folder / "fleet", env) as fleet, StandIn(known, key_pair=KEY_PAIR) as standin:
        fleet.start_redis()
        for part in ("router", "sweeper", "local"):
            fleet.start(part)
        fleet.start("bedrock", **STANDIN_ENV, FOREBAY_BEDROCK_ENDPOINT=standin.url)
        fleet.wait_ready()
        yield fleet


def _known(one: Labelled, accuracy: float, at: int) -> str:
    right = random.Random(at).random() < accuracy
    request = one.request.model_dump(mode="json", by_alias=True)
    return json.dumps({"request": request, "reference": one.gold if right else one.wrong}) + "\n"


def answered(fleet: Fleet, asked: Sequence[Labelled], tenant: str, **terms: Any) -> list[Outcome]:
    """What became of each job, in order."""
    with Client(tenant=tenant, settings=Settings(redis_url=fleet.url)) as client:
        begun = [client.begin(one.request, **terms) for one in asked]
        return [future.result(TIMEOUT_S) for future in begun]


def _row(one: Labelled, local: Outcome, frontier: Outcome, free: Outcome) -> Row:
    second = [check for check in local.checks if check.name == "second_opinion"]
    hard = [check for check in local.checks if check.name != "second_opinion"]
    return Row(
        kind=one.request.kind,
        local=worth(one, local),
        frontier=worth(one, frontier),
        verdict=local.verdict.probability if local.verdict else 0.5,
        failed=not isinstance(local, Answer) or not all(check.passed for check in hard),
        doubt=0.5 if local.doubt is None else local.doubt.probability,
        agreement=float(second[0].note.rpartition(" ")[2]) if second else None,
        realised=worth(one, free),
        went=free.lane == "bedrock",
    )


def worth(one: Labelled, outcome: Outcome) -> float:
    """How far an answer is the right one, 0 to 1; a failure is worth nothing."""
    if not isinstance(outcome, Answer):
        return 0.0
    match one.request, outcome.content:
        case Extract(), Extraction() as content:
            return agreement.fields(content.data, one.gold)
        case _, Classification() as content:
            return float(content.label == one.gold)
        case _, Generation() as content:
            return agreement.texts(content.text, str(one.gold))
        case _:
            return 0.0


# --- curves -------------------------------------------------------------------------------------


def curve(rows: Sequence[Row], rule: Rule) -> list[tuple[float, float]]:
    """(share that goes up, mean quality), from none to all; the rule's highest go first."""
    quality = fmean(row.local for row in rows)
    points, gone = [(0.0, quality)], 0
    for _, group in groupby(sorted(rows, key=rule, reverse=True), key=rule):
        equals = list(group)
        gone += len(equals)
        quality += sum(row.frontier - row.local for row in equals) / len(rows)
        points.append((gone / len(rows), quality))
    return points


def at(points: Sequence[tuple[float, float]], share: float) -> float:
    """The quality at a share, between the points beside it."""
    for (left, low), (right, high) in pairwise(points):
        if left <= share <= right:
            return low + (high - low) * (share - left) / (right - left)
    return points[-1][1]


def area(points: Sequence[tuple[float, float]]) -> float:
    """The mean share of the gap that is recovered (APGR): 0.5 at random."""
    weak, strong = points[0][1], points[-1][1]
    under = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return (under - weak) / (strong - weak)


def show(rows: Sequence[Row]) -> None:
    """A table of all jobs, one of each kind, and where the fleet itself ended up."""
    for kind in ("all", *KINDS):
        some = [row for row in rows if kind in ("all", row.kind)]
        weak, strong = fmean(row.local for row in some), fmean(row.frontier for row in some)
        print(f"\n{kind}: {len(some)} jobs, local {weak:.3f}, frontier {strong:.3f}")
        print(f"{'':16}{'APGR':>6}" + "".join(f"{share:>7} %" for share in (10, 20, 30, 50)))
        for name, rule in RULES.items():
            points = curve(some, rule)
            marks = "".join(f"{at(points, share):9.3f}" for share in (0.1, 0.2, 0.3, 0.5))
            print(f"{name:16}{area(points):6.3f}{marks}")
        went, realised = fmean(row.went for row in some), fmean(row.realised for row in some)
        print(f"{'default policy':16}{'':6} {100 * went:.0f} % went up: {realised:.3f}")


if __name__ == "__main__":
    main()
