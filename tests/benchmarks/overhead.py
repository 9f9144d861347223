"""Measure what a job costs: jobs per second and CPU through the fleet, beside bare queues.

Run `make bench-overhead`, or `python tests/benchmarks/overhead.py --jobs 5000 --runs 3`. All run in
one run on one Redis. The queues carry a task that does nothing but count itself: bare Celery, and,
in an environment of their own (`make peers`), rq, huey, arq, taskiq, docket and dramatiq.
Forebay answers a job with the echo engine in its own process, with everything on: leases, policy,
checks, receipts, a wake-up for each job, logs, Celery events and metrics. A job of two hops gets a
verdict besides.

The ratio is the cost on top of Celery, which is small beside a job of 100 ms on a GPU. `--json
FILE` adds the medians to a file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from environments import python_of  # noqa: E402 - beside this program
from figures import add_figures  # noqa: E402 - likewise

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.base import Egress  # noqa: E402
from forebay.routing.jobs import Generate, Message  # noqa: E402
from forebay.routing.limits.lanes.published_lanes import PublishedLanes  # noqa: E402
from forebay.routing.policy.policy_file import PolicyFile  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the line above
from local.process import Process  # noqa: E402

THREADS = "32"  # or slots of the batch: jobs at once, everywhere
PEERS = ("rq", "huey", "dramatiq", "arq", "taskiq", "docket")
WAKE = "fb:wake:default:bench"  # each job's end is written there; its length counts them
ASK = Generate(messages=[Message(role="user", content="[[echo: say=ok]] hello")], max_tokens=4)
STAYS = "[defaults.thresholds]\ngenerate = 0.0\n[defaults.second_opinion]\ngenerate = 0.0\n"


class Cost(NamedTuple):
    """What one run measured; CPU is that of all workers, from the first tenth of the jobs on."""

    submit: float
    drain: float
    cpu_ms: float
    redis_us: float
    parts: dict[str, float]  # us of CPU a job: of each process, and of the engine's


def main() -> None:
    """Print a row for each, and the ratio to bare Celery."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="other queues")
    parser.add_argument("--json", type=Path, help="a file to add the medians to")
    options = parser.parse_args()
    rows: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        python = python_of("queues")
        others = options.peers if python else ()
        for _ in range(options.runs):
            rows.setdefault("bare Celery", []).append(bare(fleet, options.jobs))
            rows.setdefault("Forebay, one hop", []).append(_forebay(fleet, options.jobs, "deny"))
            rows.setdefault("Forebay, two hops", []).append(_forebay(fleet, options.jobs, "allow"))
            for name in others:
                rows.setdefault(name, []).append(_peer(fleet, python, name, options.jobs))
    _print(rows, options)
    if options.peers and not others:
        print("other queues are left out: make peers")


def _print(rows: dict[str, list[Cost]], options: argparse.Namespace) -> None:
    box = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}"
    print(f"{options.jobs} jobs, medians of {options.runs} runs, {box}")
    print(
        f"{'':18} {'submit/s':>9} {'drain/s':>8} {'ratio':>6} {'CPU ms/job':>11} {'ratio':>6} "
        f"{'Redis us/job':>13}"
    )
    medians = {
        name: Cost(*map(statistics.median, list(zip(*got, strict=True))[:-1]), parts=_medians(got))
        for name, got in rows.items()
    }
    celery = medians["bare Celery"]
    for name, cost in medians.items():
        print(
            f"{name:18} {cost.submit:9.0f} {cost.drain:8.0f} {cost.drain / celery.drain:6.2f} "
            f"{cost.cpu_ms:11.2f} {cost.cpu_ms / celery.cpu_ms:6.2f} {cost.redis_us:13.0f}"
        )
    print("us of CPU a job by process:")
    for name, cost in medians.items():
        print(f"{name:18} " + ", ".join(f"{part} {us:.0f}" for part, us in cost.parts.items()))
    add_figures(options.json, "overhead", {name: cost._asdict() for name, cost in medians.items()})


def _medians(runs: Sequence[Cost]) -> dict[str, float]:
    return {part: statistics.median(run.parts[part] for run in runs) for part in runs[0].parts}


# --- the queues -----------------------------------------------------------------------------------


def bare(fleet: Fleet, jobs: int) -> Cost:
    """Return what a task of bare Celery costs."""
    client = _emptied(fleet)
    os.environ["FOREBAY_REDIS_URL"] = fleet.url
    sys.path.insert(0, str(HERE))
    from bare import app, nothing  # noqa: PLC0415 - it reads the address above

    pool = app.producer_pool.acquire(block=True)
    with _timed() as submitted, pool as producer, producer.batch(max_size=500):
        for _ in range(jobs):
            nothing.apply_async(producer=producer)
    command = [sys.executable, "-m", "celery", "-A", "bare", "worker", "-P", "threads"]
    command += ["-c", THREADS, "-l", "WARNING", "--without-mingle", "--without-gossip"]
    path = os.pathsep.join([str(ROOT / "src"), str(HERE)])
    worker = Process(
        "bare",
        command,
        env={**os.environ, "PYTHONPATH": path},
        log=fleet.logs / "bare.log",
        ready=lambda _: bool(client.exists("done")),
    )
    worker.wait_ready(60)
    drained = _drained(client, partial(_counted, client), jobs, {"worker": worker})
    worker.kill_group()
    return Cost(jobs / submitted[0], *drained)


def _forebay(fleet: Fleet, jobs: int, egress: Egress) -> Cost:
    """Return what an answered job costs: of one hop if it may not leave, else of two."""
    client = _emptied(fleet)
    policy = fleet.folder / "policy.toml"
    policy.write_text(STAYS)
    PublishedLanes(client, PolicyFile(policy)).publish()
    with Client(settings=Settings(redis_url=fleet.url)) as forebay:
        forebay._ledger.load_scripts()
        with _timed() as submitted:
            made = [forebay.job(ASK, egress=egress) for _ in range(jobs)]
            for start in range(0, jobs, 500):
                forebay._ledger.create(made[start : start + 500], WAKE)  # as `map` does
    env = {"FOREBAY_METRICS_PORT": "0", "FOREBAY_POLICY_FILE": str(policy)}
    procs = {part: fleet.start(part, **env) for part in ("router", "sweeper")}
    procs["local"] = fleet.start("local", **env, FOREBAY_ENGINE="echo", FOREBAY_SLOTS=THREADS)
    drained = _drained(client, lambda: client.xlen(WAKE), jobs, procs)
    for proc in procs.values():
        fleet.kill(proc)
    return Cost(jobs / submitted[0], *drained)


def _peer(fleet: Fleet, python: str, name: str, jobs: int) -> Cost:
    """Return what a task of another queue costs."""
    client = _emptied(fleet)
    env = {**os.environ, "FOREBAY_REDIS_URL": fleet.url, "PYTHONPATH": str(HERE)}
    command = [python, str(HERE / "peers.py"), name]
    with _timed() as submitted:
        subprocess.run([*command, "submit", str(jobs)], env=env, check=True)
    worker = Process(
        name,
        [*command, "work"],
        env=env,
        log=fleet.logs / f"{name}.log",
        ready=lambda _: bool(client.exists("done")),
    )
    worker.wait_ready(60)
    drained = _drained(client, partial(_counted, client), jobs, {"worker": worker})
    worker.kill_group()
    return Cost(jobs / submitted[0], *drained)


# --- measuring ------------------------------------------------------------------------------------


def _emptied(fleet: Fleet) -> redis.Redis:
    client = redis.Redis.from_url(fleet.url)
    client.flushall()
    return client


def _counted(client: redis.Redis) -> int:
    return int(client.get("done") or 0)


def _drained(
    client: redis.Redis, done: Callable[[], int], jobs: int, procs: Mapping[str, Process]
) -> tuple[float, float, float, dict[str, float]]:
    """Return jobs a second, CPU ms a job of the workers, CPU us a job of Redis and of each process.

    The first tenth does not count, so that start-up does not.
    """
    while (first := done()) < jobs // 10:
        time.sleep(0.02)
    began, cpu, redis_cpu = time.monotonic(), _cpu_s(procs), _redis_cpu_s(client)
    while done() < jobs:
        time.sleep(0.05)
    worked = jobs - first
    took_s = time.monotonic() - began
    after = _cpu_s(procs)
    parts = {part: 1e6 * (after[part] - cpu[part]) / worked for part in after}
    redis_us = 1e6 * (_redis_cpu_s(client) - redis_cpu) / worked
    return worked / took_s, sum(parts.values()) / 1e3, redis_us, parts


def _redis_cpu_s(client: redis.Redis) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _cpu_s(procs: Mapping[str, Process]) -> dict[str, float]:
    """Return the CPU seconds of each process, and of the processes below it."""
    seconds = {}
    for name, proc in procs.items():
        parent = psutil.Process(proc.pid)
        seconds[name] = sum(parent.cpu_times()[:2])
        if children := parent.children(recursive=True):
            seconds[f"{name}'s engine"] = sum(sum(each.cpu_times()[:2]) for each in children)
    return seconds


@contextmanager
def _timed() -> Iterator[list[float]]:
    took: list[float] = []
    began = time.monotonic()
    yield took
    took.append(time.monotonic() - began)


if __name__ == "__main__":
    main()
