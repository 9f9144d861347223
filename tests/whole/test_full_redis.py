"""A Redis that is full: jobs that were taken in end, workers start and stay, and no job is lost."""

from __future__ import annotations

import signal

import pytest
import redis as redis_py

from forebay.producers.cli.doctor import ledger
from forebay.producers.client import Client
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Embed, Summarize
from forebay.routing.settings import Settings
from patience import until

pytestmark = pytest.mark.slow

JOBS = 40


@pytest.fixture
def running(fleet):
    fleet.start_redis(maxmemory="64mb")
    for part in ("router", "sweeper"):
        fleet.start(part)
    fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_WEDGED_S="5")
    fleet.wait_ready()
    return fleet


@pytest.fixture
def redis(running):
    with redis_py.Redis.from_url(running.url) as redis:
        yield redis


@pytest.fixture
def client(running):
    with Client(settings=Settings(redis_url=running.url)) as client:
        yield client


def fill(redis) -> None:
    """Leave Redis no memory for anything but scripts that may run then."""
    info = redis.info("memory")
    redis.config_set("maxmemory", int(info["used_memory"] - info["mem_not_counted_for_evict"]) - 1)


def submitted(client) -> str | None:
    try:
        return client.submit(Summarize(text="We met at noon."))
    except Unavailable:  # the sweeper has not looked yet
        return None


def states(client, ids) -> set[str]:
    return {client.status(job_id).state for job_id in ids}


def test_jobs_that_wait_in_a_full_redis_end_and_no_worker_leaves(
    running, client, redis, monkeypatch
):
    [local] = running._parts["local"]
    running.kill(local, signal.SIGSTOP)
    text = "[[echo: say=We met at noon.]] We met at noon. " + "filler " * 200
    ids = [client.submit(Summarize(text=text)) for _ in range(JOBS)]
    until(lambda: client.status(ids[-1]).queue == "local.default", 30)
    fill(redis)
    running.kill(local, signal.SIGCONT)
    with pytest.raises(Unavailable):
        client.submit(Summarize(text=text))
    until(lambda: states(client, ids) == {"done"}, 60)
    assert all(process.alive for process in running.procs)
    monkeypatch.setenv("FOREBAY_REDIS_URL", running.url)
    (found,) = (finding for finding in ledger() if finding.name == "memory")
    assert found.state == "warn"
    assert "new jobs are refused" in found.seen
    assert "default" in found.seen, "the tenant that holds most is not named"
    assert "CONFIG SET maxmemory" in found.mend  # which is what the test does now
    redis.config_set("maxmemory", "512mb")
    until(lambda: submitted(client), 20)
    assert client.run(Summarize(text=text), timeout=20).status == "done"


WORKERS = ("router", "local", "bedrock", "sweeper")


def test_workers_start_while_redis_is_full(running, client, redis):
    running.start("mock_bedrock")
    running.start("bedrock")
    running.wait_ready()
    text = "[[echo: say=We met at noon.]] We met at noon."
    ids = [client.submit(Summarize(text=text)) for _ in range(8)]
    for part in WORKERS:
        [process] = running._parts[part]
        running.kill(process)
    ids += client._ledger.create([
        client.job(Summarize(text=text), lane="bedrock", egress="allow") for _ in range(3)
    ])  # fmt: skip
    redis.delete("fb:cache-secret", "fb:spillway:endpoint")
    fill(redis)
    for part in WORKERS:
        [process] = running._parts[part]
        process.restart()
    until(lambda: states(client, ids) == {"done"}, 90)
    assert all(process.alive for process in running.procs)
    served = {"route", "local.default", "embed", "bedrock", "sweep"}
    until(lambda: {queue for queue in served if redis.zcard(f"fb:serving:{queue}")} == served, 20)
    answers = [client.result(job_id, timeout=5) for job_id in ids]
    assert {answer.lane for answer in answers} == {"local", "bedrock"}
    assert redis.get("fb:spillway:endpoint") == running.mock_url.encode()


def test_large_answers_are_counted_before_they_come(running, redis, client):
    until(lambda: redis.exists("fb:free"), 20)  # the sweeper has measured the memory
    asks = [Embed(texts=[f"{job} {text}" for text in range(256)]) for job in range(80)]
    replies = client._ledger.create([client.job(ask) for ask in asks])  # before one is answered
    accepted = [reply for reply in replies if isinstance(reply, str)]
    assert accepted
    assert len(accepted) < len(asks)
    until(lambda: states(client, accepted) == {"done"}, 120)
    assert all(process.alive for process in running.procs)
    until(lambda: submitted(client), 20)
