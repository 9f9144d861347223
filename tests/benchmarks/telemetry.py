"""Measure what logs, events, metrics and traces cost: the same drain with and without them.

`python tests/benchmarks/telemetry.py --jobs 4000 --runs 5`, or `--short` for about a minute. All
run in turn on one Redis, over the echo engine, two hops a job. `none` has no hooks at all
(`unseen.py`), `events` the log, the counts and the events that every worker has, `metrics` also
metrics, scraped every second while Flower's kind of receiver listens, and `traces` also a trace of
each job, sent to a collector. On a busy machine the CPU time a job is steadier than the rate.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("src", "deploy", "tests/support")]

from collector import Collector  # noqa: E402 - found by the line above
from forebay.producers.client import Client  # noqa: E402
from forebay.routing.broker.app import celery_app  # noqa: E402
from forebay.routing.jobs import Generate, Message  # noqa: E402
from forebay.routing.limits.lanes.published_lanes import PublishedLanes  # noqa: E402
from forebay.routing.policy.policy_file import PolicyFile  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import READY_S, Fleet  # noqa: E402
from local.process import Process  # noqa: E402

VARIANTS = ("none", "events", "metrics", "traces")
METRICS = {"FOREBAY_METRICS_PORT": "0"}
STAYS = "[defaults.thresholds]\ngenerate = 0.0\n[defaults.second_opinion]\ngenerate = 0.0\n"
PARTS = {"sweeper": {}, "router": {}, "local": {"FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "16"}}


def main() -> None:
    """Print a row for each variant, and its ratio to `none`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="1,000 jobs, one run")
    options = parser.parse_args()
    if options.short:
        options.jobs, options.runs = 1_000, 1
    rows: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet, Collector() as sink:
        traces = METRICS | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        settings = {"none": {}, "events": {}, "metrics": METRICS, "traces": traces}
        fleet.start_redis()
        for run in range(options.runs):
            for variant in VARIANTS[:: 1 if run % 2 else -1]:  # neither order favours one
                rows[variant].append(
                    drain(fleet, options.jobs, settings[variant], seen=variant != "none")
                )
                print(f"{variant:8} {rows[variant][-1][0]:9.0f} {rows[variant][-1][1]:9.3f}")
    print(f"\n{options.jobs} jobs, medians of {options.runs} runs, {os.cpu_count()} cores")
    print(f"{'':8} {'drain/s':>9} {'CPU ms/job':>11} {'ratios to none':>20}")
    medians = {name: [statistics.median(col) for col in zip(*got)] for name, got in rows.items()}  # noqa: B905
    for name, (rate, cpu) in medians.items():
        ratios = f"{rate / medians['none'][0]:9.3f} {cpu / medians['none'][1]:10.3f}"
        print(f"{name:8} {rate:9.0f} {cpu:11.3f} {ratios}")


def drain(fleet: Fleet, jobs: int, env: Mapping[str, str], *, seen: bool) -> tuple[float, float]:
    """Return the jobs per second of one drain, and the CPU milliseconds of all workers a job.

    Args:
        fleet: the fleet; its Redis is emptied.
        jobs: how many jobs are drained.
        env: further settings of the workers.
        seen: whether the workers have any hooks.
    """
    client = redis.Redis.from_url(fleet.url)
    client.flushall()
    env = dict(env) | _routed_by(fleet, client)
    procs = [_start(fleet, part, own | env, seen=seen) for part, own in PARTS.items()]
    for proc in procs:  # no start-up is measured
        proc.wait_ready(READY_S)
    with _watched(fleet, procs) if METRICS.keys() <= env.keys() else contextlib.nullcontext():
        _submit(fleet.url, jobs)
        measured = _measure(client, jobs, procs)
    for proc in procs:
        fleet.kill(proc)
    return measured


def _routed_by(fleet: Fleet, client: redis.Redis) -> dict[str, str]:
    """Write a policy by which jobs may leave, and stay; return the setting that names it.

    A job that may not leave would skip the router, and have one hop.
    """
    policy = fleet.folder / "policy.toml"
    policy.write_text(STAYS)
    PublishedLanes(client, PolicyFile(policy)).publish()
    return {"FOREBAY_POLICY_FILE": str(policy)}


def _submit(url: str, jobs: int) -> None:
    ask = Generate(messages=[Message(role="user", content="[[echo: say=ok]] hello")], max_tokens=4)
    with Client(settings=Settings(redis_url=url)) as forebay:
        made = [forebay.job(ask, egress="allow") for _ in range(jobs)]
        for start in range(0, jobs, 500):
            forebay._ledger.create(made[start : start + 500])


def _start(fleet: Fleet, part: str, env: Mapping[str, str], *, seen: bool) -> Process:
    if seen:
        return fleet.start(part, **env)
    program = str(ROOT / "tests" / "benchmarks" / "unseen.py")
    words = ["--hostname", f"{part}@%h", "--loglevel", "INFO", "--without-mingle"]
    command = [sys.executable, program, part, *words, "--without-gossip"]
    return fleet._run(part, command, env, lambda proc: bool(proc.logged("ready")), f"{part}0")


@contextmanager
def _watched(fleet: Fleet, procs: list[Process]) -> Iterator[None]:
    """Receive all events, and scrape each worker every second, as long as this block runs."""
    stopped = threading.Event()
    threads = [threading.Thread(target=_receive, args=(fleet.url, stopped), daemon=True)]
    threads += [threading.Thread(target=_scrape, args=(proc, stopped)) for proc in procs]
    for thread in threads:
        thread.start()
    yield
    stopped.set()
    for thread in threads[1:]:
        thread.join()


def _receive(url: str, stopped: threading.Event) -> None:
    app = celery_app(Settings(redis_url=url))
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": lambda _event: None})
        for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
            if stopped.is_set():
                return


def _scrape(proc: Process, stopped: threading.Event) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not stopped.wait(1.0):
        if found := re.search(r"metrics at (\S+)", proc.log.read_text()):
            with contextlib.suppress(OSError), opener.open(found[1], timeout=5) as response:
                response.read()


def _measure(client: redis.Redis, jobs: int, procs: list[Process]) -> tuple[float, float]:
    """Return jobs a second and CPU milliseconds a job, after the first tenth: without the start."""
    began, first, cpu_s = 0.0, 0, 0.0
    while (count := sum(1 for _ in client.scan_iter("fb:answer:*", count=10_000))) < jobs:
        if not began and count >= jobs // 10:
            began, first, cpu_s = time.monotonic(), count, _cpu_s(procs)
        time.sleep(0.1)
    took_s, done = time.monotonic() - began, jobs - first
    return done / took_s, 1000 * (_cpu_s(procs) - cpu_s) / done


def _cpu_s(procs: list[Process]) -> float:
    tree = [psutil.Process(proc.pid) for proc in procs]
    tree += [child for parent in tree for child in parent.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in tree)


if __name__ == "__main__":
    main()
