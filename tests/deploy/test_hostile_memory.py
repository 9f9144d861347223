"""No script that may run while memory is full lets a producer fill Redis beyond its limit."""

from __future__ import annotations

import contextlib
import random

import pytest
import redis as redis_py

from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.scripts import digest, names, transition
from ledger_jobs import BELL, job, put

pytestmark = pytest.mark.slow

MIB = 2**20
BIG = "x" * MIB
RUNS = 12
MAX_GROWTH = 6 * MIB  # of buffers and the like; what the runs would write is twice as much
AT_OOM = sorted(name for name in names() if "allow-oom" in transition(name).partition("\n")[0])


def arguments(job_id: str) -> dict[str, list[object]]:
    """Return arguments with which scripts would write much for a job that its producer forged."""
    return {
        "settle": [60_000, job_id, "t", "failed", BIG, BIG, BIG],
        "settle_shard": [job_id, "t", BIG, BIG, 60_000, BELL, 1, 0],
        "keep_draft": [job_id, "t", BIG],
        "retry": [job_id, "t", BELL, 1_000, BIG, 0, 4, 60_000, BIG],
        "escalate": [job_id, "t", BELL, BIG, BIG, BIG],
        "route": [BELL, job_id, "t", "bedrock", "allow", BIG, BIG],
        "put": [f"fb:content:{job_id}", BIG, 0],
        "keep": [f"fb:content:{job_id}", BIG],
        "lease": [f"fb:content:{job_id}", BIG, 60_000],
        "ring": ["route", BIG],
        "order": [f"fb:job:{job_id}", "x", BIG],
        "bulk_state": ["acme.b", BIG],
        "watch": [job_id, f"fb:wake:acme:{BIG}"],
    }


@pytest.fixture(scope="module")
def full(users):
    """Fill Redis as a producer does; return the ids of jobs whose records the producer forged."""
    users.empty()
    workers = Ledger(users["worker"], Settings(), BELL)
    workers.load_scripts()
    acme = users["producer-acme"]
    ids = put(workers, *(job("acme", egress="allow") for _ in range(RUNS)))
    for job_id in ids:
        acme.hset(f"fb:job:{job_id}", mapping={"state": "running", "token": "t", "fence": "1"})
    with contextlib.suppress(redis_py.exceptions.OutOfMemoryError):
        for number in range(1_000):
            acme.set(f"fb:content:acme.{number}", BIG)
    with pytest.raises(redis_py.exceptions.OutOfMemoryError):
        acme.set("fb:content:acme.more", BIG)
    yield ids
    users.empty()


def growth(users, run) -> int:
    """Return by how many bytes Redis grows while something runs often."""
    used = users["sweeper"].info("memory")["used_memory_dataset"]
    for _ in range(RUNS):
        with contextlib.suppress(redis_py.ResponseError):
            run()
    return users["sweeper"].info("memory")["used_memory_dataset"] - used


@pytest.mark.parametrize("script", AT_OOM)
def test_no_script_fills_a_full_redis_for_a_producer(users, full, script):
    acme, dice, ids = users["producer-acme"], random.Random(script), iter(full)
    words = (BIG, "t", "route", "1", "60000", "fb:wake:acme:1", "failed", *full[:3])

    def run():
        drawn = [dice.choice(words) for _ in range(10)]
        acme.evalsha(digest(script), 0, *arguments(next(ids)).get(script, drawn))

    assert growth(users, run) < MAX_GROWTH


def test_streams_that_wait_for_the_end_of_a_job_are_bounded(users, full):
    acme = users["producer-acme"]
    with acme.pipeline(transaction=False) as pipe:
        for number in range(1_000):
            pipe.evalsha(digest("watch"), 0, full[0], f"fb:wake:acme:{number}")
        pipe.execute(raise_on_error=False)
    assert acme.scard(f"fb:watchers:{full[0]}") <= 100
