"""Measure what a long queue costs: Redis' memory, commands and CPU, and another tenant's wait.

    python tests/benchmarks/depth.py --most 1000000 --backlog 200000

The first table fills a queue with 1,000 jobs, then ten times as many, and prints what a job that
waits takes of memory, and what it costs to submit, to claim and to settle one job at this depth.
The second has the same number of jobs of more and more tenants. The third has a local worker, and
prints how long the jobs of one tenant take from submit to answer: alone, beside a tenant with few
jobs queued and beside a tenant with many. The three take turns in one run. The engine answers at
once, unless `--delay 0.02 --tokens 8` gives its tokens a time. Beside the times stands the CPU that
the worker took meanwhile, which hardly depends on what else the machine does. `--json FILE` adds
the first and the third to a file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.client import Client  # noqa: E402
from forebay.routing.broker.doorbell import packaged_template  # noqa: E402
from forebay.routing.jobs import (  # noqa: E402
    Answer,
    Generate,
    Job,
    Message,
    Summarize,
    Summary,
    new_id,
)
from forebay.routing.ledger.admission import NewJob  # noqa: E402
from forebay.routing.ledger.ledger import Ledger  # noqa: E402
from forebay.routing.limits.lanes.published_lanes import PublishedLanes  # noqa: E402
from forebay.routing.policy.policy_file import PolicyFile  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

TEXT = "A text of about three hundred characters. " * 7
QUEUE = "local.default"
MOST_WAITING = 10**8
SAMPLE = 500  # jobs that are measured at each depth
BLOCK = 1_000  # jobs of one round trip
ROUND = 10  # jobs of each turn, in the third table
CPU_OF_PROCESS = 2  # Linux: the clock of a process is (~pid << 3) | 2, to the nanosecond
FEW = 2_000  # jobs of the tenant with a short queue, at the begin of each of its turns


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=100_000, help="jobs queued at the end")
    parser.add_argument("--tenants", type=int, default=10_000, help="tenants at the end")
    parser.add_argument("--backlog", type=int, default=20_000, help="jobs of the busy tenant")
    parser.add_argument("--rounds", type=int, default=10, help=f"turns of {ROUND} jobs each")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds of a token")
    parser.add_argument("--tokens", type=int, default=1, help="of an answer")
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis(maxmemory="8gb")
        depths = _depths(_ledger(fleet), options.most)
        _tenants(_ledger(fleet), options.tenants)
        waits = _beside_a_backlog(fleet, options, _question(options.delay, options.tokens))
    add_figures(options.json, "depth", {"depths": depths, "waits": waits})


def _ledger(fleet: Fleet) -> Ledger:
    """Return the ledger of an empty Redis that routers have told their policy."""
    client = redis.Redis.from_url(fleet.url)
    client.flushall()
    ledger = Ledger(client, Settings(redis_url=fleet.url, max_waiting=MOST_WAITING), _bell)
    ledger.load_scripts()
    PublishedLanes(client, PolicyFile(None)).publish()
    return ledger


@cache
def _bell() -> str:
    return packaged_template()


# --- depth and tenants ----------------------------------------------------------------------------


def _depths(ledger: Ledger, most: int) -> list[dict[str, float]]:
    """Print and return what a job takes and costs, for deeper and deeper queues of one tenant."""
    rows: list[dict[str, float]] = []
    ledger.redis.config_set("appendonly", "no")  # it would be rewritten meanwhile
    empty, queued, depth = _memory(ledger), 0, 1_000
    print(f"\n{'queued':>9} {'bytes/job':>9} {'MiB':>6}   commands and Redis us a job")
    while depth <= most:
        _fill(ledger, depth - queued, tenants=1)
        queued, used = depth, _memory(ledger) - empty
        costs = _costs(ledger)
        print(f"{queued:9,} {used / queued:9.0f} {used / 2**20:6.0f}   {_shown(costs)}")
        rows.append({"queued": queued, "bytes": used / queued})
        rows[-1] |= {step: cost.cpu_us for step, cost in costs.items()}
        depth *= 10
    return rows


def _tenants(ledger: Ledger, most: int) -> None:
    """Print what a job costs if the queue holds as many jobs of more and more tenants."""
    print(f"\n{'tenants':>9} {'queued':>9}   commands and Redis us a job")
    tenants = 1
    while tenants <= most:
        ledger = _emptied(ledger)
        _fill(ledger, most, tenants)
        print(f"{tenants:9,} {most:9,}   {_shown(_costs(ledger))}")
        tenants *= 10


def _emptied(ledger: Ledger) -> Ledger:
    ledger.redis.flushall()
    ledger.load_scripts()
    PublishedLanes(ledger.redis, PolicyFile(None)).publish()
    return ledger


def _fill(ledger: Ledger, count: int, tenants: int) -> None:
    """Queue jobs of about 300 characters. Their contents are alike: nobody reads them here."""
    content, fields = ledger.packed(_job("t0"))
    for start in range(0, count, BLOCK):
        names = [f"t{(start + i) % tenants}" for i in range(min(BLOCK, count - start))]
        ledger.put_on([NewJob(new_id(name), content, fields) for name in names])


class Cost(NamedTuple):
    """What a step costs Redis for one job."""

    commands: float
    cpu_us: float


def _costs(ledger: Ledger) -> dict[str, Cost]:
    """Return what a job costs, by step."""
    jobs = [_job(f"t{i % 10}") for i in range(SAMPLE)]
    claims = []
    steps: dict[str, Callable[[Job], object]] = {
        "submit": lambda job: ledger.create([job]),
        "claim": lambda _job: claims.append(ledger.claim(QUEUE)),
        "settle": lambda _job: (claim := claims.pop(), ledger.settle(claim, _answer(claim.id))),
    }
    return {name: _measured(ledger.redis, step, jobs) for name, step in steps.items()}


def _shown(costs: dict[str, Cost]) -> str:
    return "   ".join(
        f"{name} {each.commands:3.0f} {each.cpu_us:4.0f}" for name, each in costs.items()
    )


def _measured(client: redis.Redis, step: Callable[[Job], object], jobs: list[Job]) -> Cost:
    commands, cpu = _used(client)
    for job in jobs:
        step(job)
    all_commands, all_cpu = _used(client)
    return Cost((all_commands - commands) / len(jobs), 1e6 * (all_cpu - cpu) / len(jobs))


def _used(client: redis.Redis) -> tuple[int, float]:
    """Return the commands so far, those of scripts included, and Redis' CPU seconds."""
    stats, cpu = client.info("commandstats"), client.info("cpu")
    return sum(each["calls"] for each in stats.values()), cpu["used_cpu_user"] + cpu["used_cpu_sys"]


def _memory(ledger: Ledger) -> int:
    return int(ledger.redis.info("memory")["used_memory"])


def _job(tenant: str) -> Job:
    return Job(tenant=tenant, request=Summarize(text=TEXT))


def _answer(job_id: str) -> Answer:
    return Answer(
        id=job_id, kind="summarize", egress="deny", status="done", lane="local",
        model="benchmark", revision="1", content=Summary(text="A short summary of the text."),
    )  # fmt: skip


# --- another tenant -------------------------------------------------------------------------------


class Wait(NamedTuple):
    """How long a job took, and the seconds of CPU that the worker took meanwhile."""

    took_s: float
    worker_s: float


def _question(delay_s: float, tokens: int) -> Generate:
    words = " ".join(["ok"] * tokens)
    text = f"[[echo: say={words}]] [[echo: delay={delay_s}]] hello"
    return Generate(messages=[Message(role="user", content=text)])


def _beside_a_backlog(
    fleet: Fleet, options: argparse.Namespace, ask: Generate
) -> dict[str, list[Wait]]:
    """Print and return how long a tenant's jobs take beside short and long queues of another."""
    ledger = _ledger(fleet)
    policy = fleet.folder / "policy.toml"
    policy.write_text("[defaults.second_opinion]\ngenerate = 0.0\n")
    _queue(ledger, "busy", options.backlog, ask)
    pause = ledger.redis
    env = {"FOREBAY_ENGINE": "echo", "FOREBAY_SLOTS": "8", "FOREBAY_POLICY_FILE": str(policy)}
    pause.hset("fb:paused", mapping={"tenant:busy": "benchmark", "tenant:small": "benchmark"})
    fleet.start("sweeper", **env)
    worker = fleet.start("local", **env).pid
    fleet.wait_ready()
    took: dict[str, list[Wait]] = {"alone": [], "small": [], "busy": []}
    with Client(settings=Settings(redis_url=fleet.url), tenant="other") as client:
        for _ in range(options.rounds):
            for name, waits in took.items():
                if name == "small":
                    there = ledger.redis.zcard(f"fb:waiting:{QUEUE}:interactive:small")
                    _queue(ledger, "small", FEW - there, ask)
                pause.hdel("fb:paused", f"tenant:{name}")
                time.sleep(1.0)  # until its jobs hold all threads
                waits += [_answered(client, ask, worker) for _ in range(ROUND)]
                pause.hset("fb:paused", f"tenant:{name}", "benchmark")
                time.sleep(1.0)
    _print_waits(took, options.backlog)
    return took


def _print_waits(took: dict[str, list[Wait]], backlog: int) -> None:
    names = {
        "alone": "alone",
        "small": f"beside a tenant with {FEW:,} jobs queued",
        "busy": f"beside a tenant with {backlog:,} jobs queued",
    }
    print(f"\n{'submit to answer, ms':45} {'p50':>6} {'p95':>6}   worker's CPU: p50, p95")
    for name, waits in took.items():
        shown = ""
        for column in zip(*waits, strict=True):
            p50, p95 = statistics.median(column), statistics.quantiles(column, n=20)[-1]
            shown += f" {1e3 * p50:6.1f} {1e3 * p95:6.1f}  "
        print(f"{names[name]:45}{shown}")


def _queue(ledger: Ledger, tenant: str, count: int, ask: Generate) -> None:
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        made = ledger.create([Job(tenant=tenant, request=ask) for _ in range(size)])
        assert all(isinstance(reply, str) for reply in made), made[0]


def _answered(client: Client, ask: Generate, worker: int) -> Wait:
    clock = (~worker << 3) | CPU_OF_PROCESS
    began, cpu = time.monotonic(), time.clock_gettime(clock)
    client.result(client.submit(ask), timeout=60)
    return Wait(time.monotonic() - began, time.clock_gettime(clock) - cpu)


if __name__ == "__main__":
    main()
