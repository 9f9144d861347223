"""Measure what the ledger costs: jobs per second through the fleet, beside a bare Celery task.

Run `make bench`, or `python tests/benchmarks/overhead.py --jobs 5000 --runs 3`. Both run in one run
on one Redis: bare Celery with one task and one counter per job; Forebay with two hops per job, a
verdict, the echo engine in its own process, checks, leases, receipts and a wake-up for each job.
The ratio is the cost on top of Celery, which is small beside a job of 100 ms on a GPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.jobs import Generate, Message  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the line above
from local.process import Process  # noqa: E402

THREADS = "32"


def main() -> None:
    """Print a row for each, and the ratio of the two."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float]]] = {"bare Celery": [], "Forebay": []}
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        for _ in range(options.runs):
            rows["bare Celery"].append(bare(fleet, options.jobs))
            rows["Forebay"].append(_forebay(fleet, options.jobs))
    print(f"{options.jobs} jobs, medians of {options.runs} runs, {os.cpu_count()} cores")
    print(f"{'':12} {'submit/s':>9} {'drain/s':>9} {'worker CPU ms/job':>18}")
    medians = {name: [statistics.median(col) for col in zip(*got)] for name, got in rows.items()}  # noqa: B905
    for name, (submit, drain, cpu) in medians.items():
        print(f"{name:12} {submit:9.0f} {drain:9.0f} {cpu:18.2f}")
    ratios = [ours / theirs for theirs, ours in zip(*medians.values(), strict=True)]
    print(f"{'ratio':12} {ratios[0]:9.2f} {ratios[1]:9.2f} {ratios[2]:18.2f}")


def bare(fleet: Fleet, jobs: int) -> tuple[float, float, float]:
    """Return submits/s, drained tasks/s and CPU a task of bare Celery."""
    client = redis.Redis.from_url(fleet.url)
    client.flushall()
    os.environ["FOREBAY_REDIS_URL"] = fleet.url
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    from bare import app, nothing  # noqa: PLC0415 - it reads the address above

    pool = app.producer_pool.acquire(block=True)
    with _timed() as submitted, pool as producer, producer.batch(max_size=500):
        for _ in range(jobs):
            nothing.apply_async(producer=producer)
    command = [sys.executable, "-m", "celery", "-A", "bare", "worker", "-P", "threads"]
    command += ["-c", THREADS, "-l", "WARNING", "--without-mingle", "--without-gossip"]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "benchmarks")])
    worker = Process(
        "bare",
        command,
        env={**os.environ, "PYTHONPATH": path},
        log=fleet.logs / "bare.log",
        ready=lambda _: bool(client.exists("done")),
    )
    worker.wait_ready(60)
    drain = _drained(lambda: int(client.get("done") or 0), jobs)
    cpu = _cpu_s([worker])
    worker.kill_group()
    return jobs / submitted[0], drain, 1000 * cpu / jobs


def _forebay(fleet: Fleet, jobs: int) -> tuple[float, float, float]:
    client = redis.Redis.from_url(fleet.url)
    client.flushall()
    ask = Generate(messages=[Message(role="user", content="[[echo: say=ok]] hello")], max_tokens=4)
    with Client(settings=Settings(redis_url=fleet.url)) as forebay:
        forebay.submit(ask)  # loads Celery for the doorbell before the clock starts
        client.flushall()
        with _timed() as submitted:
            made = [forebay.job(ask) for _ in range(jobs)]
            for start in range(0, jobs, 500):
                forebay._ledger.create(made[start : start + 500])  # as `map` does
        procs = [fleet.start("router"), fleet.start("sweeper")]
        procs.append(fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS="16"))
        done = "fb:answer:*"
        drain = _drained(lambda: sum(1 for _ in client.scan_iter(done, count=10_000)), jobs)
    cpu = _cpu_s(procs)
    for proc in procs:
        fleet.kill(proc)
    return jobs / submitted[0], drain, 1000 * cpu / jobs


def _drained(done: Callable[[], int], jobs: int) -> float:
    """Return jobs per second after the first tenth, so that start-up does not count."""
    began, first = 0.0, 0
    while (count := done()) < jobs:
        if not began and count >= jobs // 10:
            began, first = time.monotonic(), count
        time.sleep(0.05)
    return (jobs - first) / (time.monotonic() - began)


def _cpu_s(procs: list[Process]) -> float:
    tree = [psutil.Process(proc.pid) for proc in procs]
    tree += [child for parent in tree for child in parent.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in tree)


@contextmanager
def _timed() -> Iterator[list[float]]:
    took: list[float] = []
    began = time.monotonic()
    yield took
    took.append(time.monotonic() - began)


if __name__ == "__main__":
    main()
