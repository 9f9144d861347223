"""Measure how the pacing controller converges, and what it costs, on simulated traffic.

    make bench-pacing            (or: python tests/benchmarks/pacing.py --jobs 500 --runs 10)

Prints the share that went up, for several distributions of scores: the mean and the worst of some
runs. Then prints the time of one request to the controller.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import redis

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy"), str(ROOT / "tests" / "support")]

from forebay.routing.limits.pacing import Pacer  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - of the paths above
from traffic import SCORES, Traffic, job, rules  # noqa: E402

TARGETS = (0.1, 0.2)
HARD = (0.0, 0.08)


def converge(client: redis.Redis, jobs: int, runs: int) -> None:
    """Return the share that went up after `jobs` jobs, in per cent."""
    print(f"{'scores':16} {'target':>6} {'failed':>6} {'mean':>6} {'worst':>6}")
    for name, scores in SCORES.items():
        for target in TARGETS:
            for hard in HARD:
                shares = []
                for seed in range(runs):
                    client.flushall()
                    traffic = Traffic(client, seed)
                    shares.append(traffic.send(rules(share=target), jobs, scores, hard=hard))
                worst = max(shares, key=lambda share: abs(share - target))
                mean = statistics.mean(shares)
                row = f"{name:16} {target:6.0%} {hard:6.0%} {mean:6.1%} {worst:6.1%}"
                print(row, flush=True)


def offers(client: redis.Redis, count: int) -> None:
    """Return the microseconds of single requests, with Redis on this machine."""
    pacer, rng = Pacer(client), random.Random(1)
    for name, policy in {
        "a share": rules(share=0.2),
        "dollars": rules(usd_per_day=10.0),
        "no target": rules(),
    }.items():
        client.flushall()
        jobs = [job(rng) for _ in range(count)]
        took = []
        for one in jobs:
            began = time.perf_counter()
            pacer.offer(one, policy, "before", rng.random())
            took.append((time.perf_counter() - began) * 1e6)
        p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
        print(f"one offer, {name:10} p50 {p50:5.0f} us  p95 {p95:5.0f} us")
    client.flushall()
    pings = []
    for _ in range(count):
        began = time.perf_counter()
        client.ping()
        pings.append((time.perf_counter() - began) * 1e6)
    print(f"a PING, beside it     p50 {statistics.median(pings):5.0f} us")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="How the pace converges.")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        with redis.Redis.from_url(fleet.url) as client:
            offers(client, 2_000)
            converge(client, given.jobs, given.runs)


if __name__ == "__main__":
    main()
