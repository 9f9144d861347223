"""Measure how the rate grows with the number of local workers, and how even it is for tenants.

Run `python tests/benchmarks/scaling.py`. The echo engine takes 20 ms for each step of its batch, as
a card would, so this machine's cores are not the limit. Each tenant has more jobs queued than the
workers can do in the time that is measured. Prints jobs a second for 1, 2 and 4 workers, the ratio
to a fleet that is exactly so much faster than one worker, and the largest deviation of a tenant
from its equal share. `--json FILE` adds the figures to a file.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "deploy")]

from figures import add_figures  # noqa: E402 - the program beside this one

from forebay.producers.client import Client  # noqa: E402 - found by the line above
from forebay.routing.jobs import Generate, Job, Message  # noqa: E402
from forebay.routing.limits.lanes.published_lanes import PublishedLanes  # noqa: E402
from forebay.routing.policy.policy_file import PolicyFile  # noqa: E402
from forebay.routing.settings import Settings  # noqa: E402
from local.fleet import Fleet  # noqa: E402 - found by the lines above

STEP_S, SLOTS = 0.02, 8
TOKENS = (16, 48)  # of an answer, at least and at most, so that jobs do not end all at once
MEAN_JOB_S = STEP_S * sum(TOKENS) / 2
SPARE = 1.5  # jobs queued for each that can be worked in the time
WARM_S = 3.0
POLICY = "[defaults.second_opinion]\ngenerate = 0.0\n"


class Scale(NamedTuple):
    """What a number of workers did: jobs a second, and jobs of each tenant."""

    workers: int
    rate: float
    jobs: dict[str, int]

    @property
    def unfair(self) -> float:
        """The largest deviation of a tenant from the mean of all, as a share of the mean."""
        mean = sum(self.jobs.values()) / len(self.jobs)
        return max(abs(count - mean) for count in self.jobs.values()) / mean


def main() -> None:
    """Print a row for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--tenants", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="that are measured")
    parser.add_argument("--json", type=Path, help="a file to add the figures to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scales = [_measured(Path(folder) / str(count), count, options) for count in options.workers]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, {options.tenants} tenants")
    print(f"{'workers':>7} {'jobs/s':>8} {'of linear':>9} {'tenant off by':>13}")
    one = scales[0].rate / scales[0].workers
    for scale in scales:
        linear = scale.rate / (one * scale.workers)
        print(f"{scale.workers:7} {scale.rate:8.1f} {linear:9.3f} {scale.unfair:13.1%}")
    add_figures(
        options.json, "scaling", [each._asdict() | {"unfair": each.unfair} for each in scales]
    )


def _measured(folder: Path, workers: int, options: argparse.Namespace) -> Scale:
    """Return what so many workers do in the time, with all tenants' queues full."""
    with Fleet(folder) as fleet:
        fleet.start_redis()
        client = redis.Redis.from_url(fleet.url)
        policy = fleet.folder / "policy.toml"
        policy.write_text(POLICY)
        PublishedLanes(client, PolicyFile(policy)).publish()
        tenants = [f"tenant{number}" for number in range(options.tenants)]
        seconds = WARM_S + options.seconds
        jobs = int(SPARE * seconds * workers * SLOTS / MEAN_JOB_S / len(tenants))
        for number, tenant in enumerate(tenants):
            _queue(fleet, tenant, jobs, number)
        env = {
            "FOREBAY_ENGINE": "echo",
            "FOREBAY_SLOTS": str(SLOTS),
            "FOREBAY_ECHO_DELAY_S": str(STEP_S),
            "FOREBAY_POLICY_FILE": str(policy),
        }
        fleet.start("sweeper", **env)
        for _ in range(workers):
            fleet.start("local", **env)
        fleet.wait_ready()
        time.sleep(seconds)
        return _ended(client, workers, tenants, options.seconds)


def _queue(fleet: Fleet, tenant: str, count: int, seed: int) -> None:
    """Queue jobs whose answers have different lengths, always the same ones."""
    dice = random.Random(seed)
    with Client(settings=Settings(redis_url=fleet.url), tenant=tenant) as client:
        client._ledger.load_scripts()
        made = [_job(tenant, dice.randint(*TOKENS)) for _ in range(count)]
        replies = client._ledger.create(made, f"fb:wake:{tenant}:bench")
        assert all(isinstance(reply, str) for reply in replies)


def _job(tenant: str, tokens: int) -> Job:
    words = " ".join(f"w{number}" for number in range(tokens))
    request = Generate(messages=[Message(role="user", content=words)], max_tokens=tokens)
    return Job(tenant=tenant, request=request)


def _ended(client: redis.Redis, workers: int, tenants: list[str], seconds: float) -> Scale:
    """Return the rate over the last seconds: when jobs ended is in the ids of the stream."""
    server_s, micros = client.time()
    end = int(1000 * (server_s + micros / 1e6))
    begin = int(end - 1000 * seconds)
    ended: dict[str, Any] = {
        tenant: client.xrange(f"fb:wake:{tenant}:bench", begin, end) for tenant in tenants
    }
    jobs = {tenant: len(entries) for tenant, entries in ended.items()}
    return Scale(workers, sum(jobs.values()) / seconds, jobs)


if __name__ == "__main__":
    main()
