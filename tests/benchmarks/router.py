"""Measure the cost of one verdict: `python tests/benchmarks/router.py [PARQUET]`, on one core.

The texts are the prompts of a parquet file (column `prompt`; needs the extra `router`), or random
words with lengths like those of chats. CPU time is printed beside wall time, because the machine
may be busy.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from forebay.routing.jobs import Job  # noqa: E402
from forebay.routing.scoring.router_model import RouterModel  # noqa: E402 - found by the line above

COUNT = 2_000
TEXT = "what is the sum of pressure and 12.5 in a closed pump when water flows, or why not?"


def main() -> None:
    """Print quantiles of the time of one verdict."""
    model = RouterModel.load()
    jobs = [_job(text) for text in _texts()]
    clock, processor = [], []
    for job in jobs:
        began, busy = time.perf_counter(), time.process_time()
        model.verdict(job)
        processor.append(time.process_time() - busy)
        clock.append(time.perf_counter() - began)
    print(f"{len(jobs)} verdicts, ms  {'p50':>7}{'p95':>7}{'p99':>7}")
    for name, times in (("clock", clock), ("processor", processor)):
        times.sort()
        cells = "".join(
            f"{1000 * times[int(part * len(times))]:7.2f}" for part in (0.5, 0.95, 0.99)
        )
        print(f"{name:17}{cells}")


def _job(text: str) -> Job:
    return Job(request={"kind": "generate", "messages": [{"role": "user", "content": text}]})


def _texts() -> list[str]:
    if len(sys.argv) > 1:
        import pyarrow.parquet as pq  # noqa: PLC0415 - of an extra

        prompts = pq.read_table(sys.argv[1], columns=["prompt"]).column("prompt").to_pylist()
        return random.Random(0).sample(prompts, min(COUNT, len(prompts)))
    draw, words = random.Random(0), TEXT.split()
    lengths = [max(5, round(draw.lognormvariate(4, 0.9))) for _ in range(COUNT)]
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


if __name__ == "__main__":
    main()
