"""Run the storms: each is one thing that goes wrong beside the jobs of others.

The jobs of others are timed before, during and after each storm, in one run, and all books are
balanced. Exit code 0 if every book balances and no lane that a storm has to spare was slower for
others than twice undisturbed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src"), str(HERE.parents[1] / "deploy")]
for name in [name for name in os.environ if name.startswith(("FOREBAY_", "CELERY_"))]:
    del os.environ[name]  # settings of the caller's shell must not change the run

from rich.console import Console  # noqa: E402 - after the path is set

from storms.all_storms import STORMS  # noqa: E402 - likewise
from storms.trial import Outcome, Plan, try_out  # noqa: E402 - likewise


def main() -> int:
    """Run each storm once; return 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storm", choices=STORMS, action="append", help="only this one")
    parser.add_argument("--seed", type=int, help="of jobs and attacks; drawn where left out")
    parser.add_argument("--rate", type=float, default=8.0, help="jobs of others a second (8)")
    parser.add_argument("--calm", type=float, default=12.0, help="seconds without the storm (12)")
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds of each storm (15)")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    plan = Plan(seed, given.rate, given.calm, given.seconds)
    console = Console(soft_wrap=True)
    wrong = [name for name in given.storm or STORMS if not _try(name, plan, console)]
    console.print(f"NOT WELL: {', '.join(wrong)}; seed {seed}" if wrong else f"well; seed {seed}")
    return 1 if wrong else 0


def _try(name: str, plan: Plan, console: Console) -> bool:
    """Run one storm and print what it showed; keep its folder if something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"forebay-storm-{name}-"))
    outcome = try_out(STORMS[name], plan, folder)
    show(outcome, console)
    wrong = [found for found in outcome.findings if found.wrong]
    for found in wrong:
        console.print(f"  WRONG: {found.name}: {found.wrong}, for example {found.some}")
    if wrong:
        console.print(f"  see {folder}")
    else:
        shutil.rmtree(folder)
    return not wrong


def show(outcome: Outcome, console: Console) -> None:
    """Print the figures of a storm."""
    evidence, books = outcome.evidence, len(outcome.findings)
    console.print(f"{outcome.storm.name}: {outcome.storm.about}")
    for comparison in outcome.comparisons:
        spared = "" if comparison.lane in outcome.storm.spares else " (not to be spared)"
        console.print(f"  {comparison}{spared}")
    ended = ", ".join(f"{status} {count}" for status, count in sorted(outcome.statuses.items()))
    console.print(f"  others: {ended}")
    console.print(f"  storm: {outcome.summary}")
    console.print(
        f"  all jobs: {len(evidence.told.accepted)}; calls: {len(evidence.calls)}, of unknown cost "
        f"{len(evidence.unknown)}; books: {books}"
    )


if __name__ == "__main__":
    sys.exit(main())
