"""Measures what a job costs Redis, in CPU time, beside one message of bare Celery.

    python tests/benchmarks/redis_capacity.py --jobs 3000

Redis runs scripts on one core, so the CPU time of a job bounds the rate of a fleet. CPU time hardly
depends on what else a machine does. Prints milliseconds a job, the ratio, and a job's bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / "deploy"), str(HERE / "tests" / "support")]

import redis  # noqa: E402 - found by the path set above

from forebay.routing.broker.doorbell import packaged_template  # noqa: E402 - likewise
from forebay.routing.jobs import Answer, Job, Summarize, Summary, Verdict  # noqa: E402 - likewise
from forebay.routing.ledger.ledger import Ledger  # noqa: E402 - likewise
from forebay.routing.settings import Settings  # noqa: E402 - likewise
from local.fleet import Fleet  # noqa: E402 - likewise

BATCH = 100  # jobs of one submit
TENANTS = 10
TEXT = "A text of about three hundred characters. " * 7
SURE = Verdict(probability=0.9, version="benchmark")


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=3_000)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_redis()
        client = redis.Redis.from_url(fleet.url)
        ledger = Ledger(client, Settings(redis_url=fleet.url), packaged_template)
        ledger.load_scripts()
        celery = cpu_ms(client, lambda: messages(client, jobs)) / jobs
        show("bare Celery, one message", celery)
        before = sizes(client)
        forebay = cpu_ms(client, lambda: work(ledger, jobs)) / jobs
        ended, written = (after - first for after, first in zip(sizes(client), before, strict=True))
        show("Forebay, submit, route and answer", forebay)
        print(f"ratio                             {forebay / celery:.2f}")
        print(f"append-only file                  {written / jobs:,.0f} bytes a job")
        print(f"memory of a job that has ended    {ended / jobs:,.0f} bytes")
        submit(ledger, jobs)
        waiting = sizes(client)[0] - before[0] - ended
        print(f"memory of a job that waits        {waiting / jobs:,.0f} bytes")


def show(way: str, milliseconds: float) -> None:
    """Print what a job costs, and how many a second one core can do."""
    print(f"{way:33} {milliseconds:.3f} ms  {1000 / milliseconds:8,.0f} jobs/s a core")


def cpu_ms(client: redis.Redis, run) -> float:
    """Return the milliseconds of CPU time that Redis takes for something."""

    def used() -> float:
        info = client.info("cpu")
        return 1000 * (info["used_cpu_user"] + info["used_cpu_sys"])

    before = used()
    run()
    return used() - before


def work(ledger: Ledger, count: int) -> None:
    """Take jobs through both hops, as producers, routers and local workers do."""
    for start in range(0, count, BATCH):
        ids = ledger.create([job(start + i) for i in range(BATCH)])
        for _ in ids:
            ledger.route(ledger.claim("route"), "local.default", "deny", "kept", SURE)
            ledger.redis.rpop("route")
        for _ in ids:
            claim = ledger.claim("local.default")
            ledger.settle(claim, answer(claim))
            ledger.redis.rpop("local.default")


def submit(ledger: Ledger, count: int) -> None:
    """Submit jobs that nobody works."""
    for start in range(0, count, BATCH):
        ledger.create([job(start + i) for i in range(BATCH)])


def sizes(client: redis.Redis) -> tuple[int, int]:
    """Return the bytes in Redis' memory and in its append-only file."""
    return client.info("memory")["used_memory"], client.info("persistence")["aof_current_size"]


def job(number: int) -> Job:
    """Return a job of about 300 characters, of one of a few tenants."""
    return Job(tenant=f"tenant{number % TENANTS}", request=Summarize(text=f"{TEXT} {number}"))


def answer(claim) -> Answer:
    """Return an answer as a local worker settles it."""
    return Answer(
        id=claim.id, kind="summarize", egress="deny", status="done", lane="local",
        model="benchmark", revision="1", content=Summary(text="A short summary of the text."),
    )  # fmt: skip


def messages(client: redis.Redis, count: int) -> None:
    """Do what kombu does for a message: push, pop, keep unacknowledged, acknowledge."""
    body = "x" * 930  # bytes of a minimal message
    for _ in range(count):
        tag = uuid.uuid4().hex
        client.lpush("celery", body)
        client.brpop("celery", 1)
        with client.pipeline() as pipe:
            pipe.zadd("unacked_index", {tag: 1})
            pipe.hset("unacked", tag, body)
            pipe.execute()
        with client.pipeline() as pipe:
            pipe.zrem("unacked_index", tag)
            pipe.hdel("unacked", tag)
            pipe.execute()


if __name__ == "__main__":
    main()
