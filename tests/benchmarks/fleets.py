"""Measure two fleets beside one with the same workers, clients and cores.

Run `python tests/benchmarks/fleets.py --jobs 2000 --runs 3`. One fleet has two routers and two
local workers (echo engine), two fleets have one of each; two clients send half of the jobs each.
Fleets share nothing but this machine, so on few cores the rates are alike. What a second fleet
gives is a second core for Redis: how busy the busiest Redis was is printed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deploy")]

from part_costs import used  # noqa: E402 - found above

from local.fleet import Fleet  # noqa: E402 - likewise
from local.process import Process  # noqa: E402 - likewise

CLIENTS = 2
WARM_UP = 200  # jobs of each client before the clock starts
CLIENT = """
import sys
from forebay import Classify, Client
def requests(count):
    return (Classify(text=f"a parcel, number {n}", labels=["late", "lost"]) for n in range(count))
with Client(tenant=sys.argv[1]) as client:
    for count in map(int, sys.argv[2:]):
        assert sum(1 for _ in client.map(requests(count))) == count
        print("done", flush=True)
        sys.stdin.readline()
"""


class Measured(NamedTuple):
    """What one run gave.

    Attributes:
        rate: jobs per second of all clients together.
        redis_ms: CPU time of all Redis together, in milliseconds a job.
        busiest: share of the wall-clock time for which the busiest Redis computed.
    """

    rate: float
    redis_ms: float
    busiest: float


def main() -> None:
    """Print a row for one fleet, one for two, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs: dict[int, list[Measured]] = {1: [], 2: []}
    for _ in range(options.runs):
        for fleets, measured in runs.items():
            with _fleets(fleets) as started:
                measured.append(_measure(*started, options.jobs))
    print(f"{options.jobs} jobs, medians of {options.runs} runs, {os.cpu_count()} cores", end=", ")
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"{'fleets':8} {'jobs/s':>8} {'Redis CPU ms/job':>18} {'busiest Redis':>14}")
    medians = {
        n: Measured(*map(statistics.median, zip(*got, strict=True))) for n, got in runs.items()
    }
    for fleets, each in medians.items():
        print(f"{fleets:<8} {each.rate:8.0f} {each.redis_ms:18.2f} {each.busiest:13.0%}")
    print(f"{'ratio':8} {medians[2].rate / medians[1].rate:8.2f}")


@contextmanager
def _fleets(count: int) -> Iterator[tuple[list[Fleet], list[Process]]]:
    """Start fleets with two routers and two local workers in all; yield them and their Redis."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleets = [stack.enter_context(Fleet(folder / str(number))) for number in range(count)]
        stores = [fleet.start_redis() for fleet in fleets]
        for fleet in fleets:
            for part in ("router", "local") * (CLIENTS // count):
                fleet.start(part, FOREBAY_ENGINE="echo", FOREBAY_SLOTS="32")
            fleet.start("sweeper")
        for fleet in fleets:
            fleet.wait_ready()
        yield fleets, stores


def _measure(fleets: list[Fleet], stores: list[Process], jobs: int) -> Measured:
    clients = [_client(fleets[number % len(fleets)], number, jobs) for number in range(CLIENTS)]
    for client in clients:
        client.stdout.readline()
    before = [used(psutil.Process(store.pid)) for store in stores]
    began = time.perf_counter()
    for client in clients:
        client.stdin.write("go\n")
        client.stdin.flush()
    for client in clients:
        assert client.stdout.readline() == "done\n"
    took = time.perf_counter() - began
    spent = [
        used(psutil.Process(store.pid)) - first for store, first in zip(stores, before, strict=True)
    ]
    for client in clients:
        client.communicate("end\n")
    return Measured(jobs / took, 1000 * sum(spent) / jobs, max(spent) / took)


def _client(fleet: Fleet, number: int, jobs: int) -> subprocess.Popen[str]:
    """Start a client that warms up, and after a line on its standard input sends its jobs."""
    words = [sys.executable, "-c", CLIENT, f"tenant{number}", str(WARM_UP), str(jobs // CLIENTS)]
    env = {"PATH": "/usr/bin:/bin", "FOREBAY_REDIS_URL": fleet.url}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(words, env=env, text=True, **pipes)


if __name__ == "__main__":
    main()
