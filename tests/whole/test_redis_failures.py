"""Redis fails in many ways while jobs run: workers recover, and each job ends once."""

from __future__ import annotations

import time

import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.jobs import Generate, Message
from forebay.routing.settings import Settings
from local.fleet import Fleet, free_port
from patience import until

TEXT = "[[echo: delay=0.05]] one two three four five six"  # 0.3 s
PORT = free_port()
SLOTS = 8


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Start workers before their Redis. Each test goes on with the fleet that the last one left."""
    folder = tmp_path_factory.mktemp("redis_failures")
    with Fleet(folder, {"FOREBAY_REDIS_URL": f"redis://127.0.0.1:{PORT}/0"}) as fleet:
        for part in ("router", "sweeper"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS=str(SLOTS))
        for proc in fleet.procs:
            until(lambda proc=proc: proc.logged("waiting: Redis cannot be reached"), 60)
        fleet.start_redis(PORT)
        fleet.wait_ready()
        yield fleet


@pytest.fixture
def client(fleet):
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        yield client


@pytest.fixture
def redis(fleet):
    with redis_py.Redis.from_url(fleet.url) as redis:
        yield redis


def submit(client, count: int) -> list[str]:
    job = Generate(messages=[Message(role="user", content=TEXT)])
    return [client.submit(job) for _ in range(count)]


def states(client, ids) -> list[str]:
    return [client.status(job_id).state for job_id in ids]


def being_generated(client, ids) -> list[str]:
    """Return the jobs that the local worker generates, once all its slots are taken."""
    states = [(job_id, client.status(job_id)) for job_id in ids]
    running = [job_id for job_id, now in states if (now.state, now.hop) == ("running", "local")]
    return running if len(running) >= SLOTS else []


def all_done(client, ids, within_s: float = 40) -> None:
    until(lambda: set(states(client, ids)) == {"done"}, within_s)


def settled_once(fleet, ids) -> bool:
    """Return whether the local worker's log has each job settled at most once."""
    [worker] = fleet._parts["local"]
    log = worker.log.read_text()
    return all(log.count(f"{{'id': '{job_id}', 'kind'") <= 1 for job_id in ids)


def no_worker_was_restarted(fleet) -> bool:
    return all(proc.alive for proc in fleet.procs if proc.name != "redis")


def test_workers_started_before_redis_wait_for_it(fleet, client):
    ids = submit(client, 4)
    all_done(client, ids)


def test_after_redis_was_killed_and_restarted_running_jobs_settle_and_the_rest_follows(
    fleet, client
):
    ids = submit(client, 40)
    until(lambda: states(client, ids).count("running") >= SLOTS, 20)
    fleet.kill(fleet._parts["redis"][-1])
    time.sleep(1.5)
    fleet.start_redis(PORT)
    back = time.monotonic()
    last = submit(client, 1)
    all_done(client, last, 20)
    assert time.monotonic() - back < 10  # about 2 s on a machine with nothing else to do
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert no_worker_was_restarted(fleet)


def test_while_redis_is_slow_jobs_end_late_but_end(fleet, client, redis):
    ids = submit(client, 20)
    redis.client_pause(3000)
    began = time.monotonic()
    redis.ping()
    assert time.monotonic() - began > 2
    all_done(client, ids)
    assert no_worker_was_restarted(fleet)


def test_while_redis_is_full_running_jobs_settle_and_workers_go_on_afterwards(fleet, client, redis):
    ids = submit(client, 40)
    running = until(lambda: being_generated(client, ids), 20)
    redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable):
            submit(client, 1)
        until(lambda: set(states(client, running)) == {"done"}, 20)
    finally:
        redis.config_set("maxmemory", "512mb")
    all_done(client, ids + patiently(lambda: submit(client, 1)))
    assert settled_once(fleet, ids)
    assert no_worker_was_restarted(fleet)


def test_every_job_ends_once_while_connections_are_cut_again_and_again(fleet, client, redis):
    ids = []
    end = time.monotonic() + 3
    while time.monotonic() < end:
        ids += patiently(lambda: submit(client, 3))
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(0.1)
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert no_worker_was_restarted(fleet)


def patiently(ask):
    """Retry: the test's client is cut off too, and refused for a second after memory was full."""
    for _ in range(50):
        try:
            return ask()
        except ForebayError:
            time.sleep(0.1)
    raise AssertionError("Redis did not come back")


def test_no_job_is_lost_while_the_primary_is_a_replica(fleet, client, redis):
    """As in a failover behind one address: writes are refused for a while."""
    ids = submit(client, 20)
    redis.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(Unavailable):
        submit(client, 1)
    time.sleep(2)
    redis.replicaof("NO", "ONE")
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert no_worker_was_restarted(fleet)
