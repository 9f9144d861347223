"""Measure the cost of one verdict: `python tests/benchmarks/router.py [PARQUET]`, on one core.

The texts are the prompts of a parquet file (column `prompt`; needs the extra `router`), or random
words with lengths like those of chats. CPU time is printed beside wall time, because the machine
may be busy.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from statistics import quantiles

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.routing.jobs import Job  # noqa: E402
from forebay.routing.scoring.router_model import RouterModel  # noqa: E402 - found by the line above

COUNT = 2_000
TEXT = "what is the sum of pressure and 12.5 in a closed pump when water flows, or why not?"


def main() -> None:
    """Print quantiles of the time of one verdict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parquet", type=Path, nargs="?", help="a file with prompts")
    parser.add_argument("--json", type=Path, help="a file to add the hundredths to, in ms")
    options = parser.parse_args()
    model = RouterModel.load()
    jobs = [_job(text) for text in _texts(options.parquet)]
    clock, processor = [], []
    for job in jobs:
        began, busy = time.perf_counter(), time.process_time()
        model.verdict(job)
        processor.append(time.process_time() - busy)
        clock.append(time.perf_counter() - began)
    print(f"{len(jobs)} verdicts, ms  {'p50':>7}{'p95':>7}{'p99':>7}")
    figures = {}
    for name, times in (("clock", clock), ("processor", processor)):
        figures[name] = cuts = [1e3 * cut for cut in quantiles(times, n=100)]
        print(f"{name:17}{cuts[49]:7.2f}{cuts[94]:7.2f}{cuts[98]:7.2f}")
    add_figures(options.json, "router", figures)


def _job(text: str) -> Job:
    return Job(request={"kind": "generate", "messages": [{"role": "user", "content": text}]})


def _texts(parquet: Path | None) -> list[str]:
    if parquet:
        import pyarrow.parquet as pq  # noqa: PLC0415 - of an extra

        prompts = pq.read_table(parquet, columns=["prompt"]).column("prompt").to_pylist()
        return random.Random(0).sample(prompts, min(COUNT, len(prompts)))
    draw, words = random.Random(0), TEXT.split()
    lengths = [max(5, round(draw.lognormvariate(4, 0.9))) for _ in range(COUNT)]
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


if __name__ == "__main__":
    main()
