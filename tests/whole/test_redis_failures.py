"""Redis fails in every way it can while jobs run: workers come back, and each job ends once."""

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


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Workers that were started before their Redis; the tests go on with what the last one left."""
    folder = tmp_path_factory.mktemp("redis_failures")
    with Fleet(folder, {"FOREBAY_REDIS_URL": f"redis://127.0.0.1:{PORT}/0"}) as fleet:
        for part in ("router", "sweeper"):
            fleet.start(part)
        fleet.start("local", FOREBAY_ENGINE="echo", FOREBAY_SLOTS="8")
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
    return [client.status(one).state for one in ids]


def at_work(client, ids) -> list[str]:
    """Those that the local worker has in hand, once it is full."""
    held = [(one, client.status(one)) for one in ids]
    held = [one for one, now in held if now.state == "running" and now.hop == "local"]
    return held if len(held) >= 8 else []


def all_done(client, ids, within_s: float = 40) -> None:
    until(lambda: set(states(client, ids)) == {"done"}, within_s)


def settled_once(fleet, ids) -> bool:
    """Whether the local worker's log has each job settled at most once."""
    [worker] = fleet._parts["local"]
    said = worker.log.read_text()
    return all(said.count(f"{{'id': '{one}', 'kind'") <= 1 for one in ids)


def nobody_was_restarted(fleet) -> bool:
    return all(proc.alive for proc in fleet.procs if proc.name != "redis")


def test_workers_started_before_redis_wait_for_it(fleet, client):
    ids = submit(client, 4)
    all_done(client, ids)


def test_killed_and_restarted_what_runs_settles_and_the_rest_follows(fleet, client):
    ids = submit(client, 40)
    until(lambda: states(client, ids).count("running") >= 8, 20)
    fleet.kill(fleet._parts["redis"][-1])
    time.sleep(1.5)
    fleet.start_redis(PORT)
    back = time.monotonic()
    last = submit(client, 1)
    all_done(client, last, 20)
    assert time.monotonic() - back < 10  # about 2 s on a machine with nothing else to do
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert nobody_was_restarted(fleet)


def test_slow_for_seconds_nothing_ends_but_late(fleet, client, redis):
    ids = submit(client, 20)
    redis.client_pause(3000)
    began = time.monotonic()
    redis.ping()
    assert time.monotonic() - began > 2
    all_done(client, ids)
    assert nobody_was_restarted(fleet)


def test_out_of_memory_what_runs_settles_and_workers_go_on_afterwards(fleet, client, redis):
    ids = submit(client, 40)
    held = until(lambda: at_work(client, ids), 20)
    redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable):
            submit(client, 1)
        until(lambda: set(states(client, held)) == {"done"}, 20)
    finally:
        redis.config_set("maxmemory", "512mb")
    all_done(client, ids + patiently(lambda: submit(client, 1)))
    assert settled_once(fleet, ids)
    assert nobody_was_restarted(fleet)


def test_connections_cut_again_and_again_every_job_ends_once(fleet, client, redis):
    ids = []
    end = time.monotonic() + 3
    while time.monotonic() < end:
        ids += patiently(lambda: submit(client, 3))
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(0.1)
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert nobody_was_restarted(fleet)


def patiently(ask):
    """The test's own client is cut as well, and is refused for a second after memory was full."""
    for _ in range(50):
        try:
            return ask()
        except ForebayError:
            time.sleep(0.1)
    raise AssertionError("could not be asked")


def test_a_primary_that_becomes_a_replica_and_is_one_no_more(fleet, client, redis):
    """As after a failover behind one address: writes are refused, and later go on."""
    ids = submit(client, 20)
    redis.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(Unavailable):
        submit(client, 1)
    time.sleep(2)
    redis.replicaof("NO", "ONE")
    all_done(client, ids)
    assert settled_once(fleet, ids)
    assert nobody_was_restarted(fleet)
