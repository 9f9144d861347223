"""Wake-ups: they survive a fork, and the thread survives whatever it reads."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import subprocess
import sys
import time

import pytest
import redis as redis_py

from forebay.producers.client import Client
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Summary
from working import ask, settle, working

pytestmark = pytest.mark.slow


def test_a_lent_client_with_a_short_socket_timeout_waits_without_an_error(
    redis_url, settings, caplog
):
    lent = redis_py.Redis.from_url(redis_url, socket_timeout=0.4)
    with Client(tenant="acme", settings=settings, redis=lent) as client:
        future = client.submit_future(ask())
        time.sleep(1.5)  # long enough for the socket to time out several times
        with working(client._ledger):
            assert future.result(timeout=20).status == "done"
    assert "waiting for Redis" not in caplog.text


PROGRAM = """
import asyncio, os, sys, threading, time
from forebay.producers.async_client import AsyncClient
from forebay.producers.client import Client
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings

settings = Settings(redis_url=sys.argv[1])
client = Client(tenant="acme", settings=settings)
asynchronous = AsyncClient(tenant="acme", settings=settings)
ask = lambda text: Summarize(text=text)

assert client.run(ask("before"), timeout=20).content.text == "BEFORE"
assert asyncio.run(asynchronous.run(ask("before"), timeout=20)).content.text == "BEFORE"
parent_stream = client._wakeups.stream
in_flight = [client.submit_future(ask(f"slow {i}")) for i in range(20)]

client._wakeups._lock.acquire()  # as if another thread held it at the moment of the fork
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            assert client._wakeups.stream != parent_stream
            assert client._wakeups._expected == {}
            answers = [client.run(ask(f"child {number}"), timeout=20).content.text]
            answers += [a.content.text for a in client.map([ask("a"), ask("b")], timeout=20)]
            async def main():
                one = await asynchronous.run(ask("c"), timeout=20)
                return [one.content.text, *[
                    a.content.text async for a in asynchronous.map([ask("d")], timeout=20)
                ]]
            answers += asyncio.run(main())
            assert answers == [f"CHILD {number}", "A", "B", "C", "D"], answers
            client.close()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    children.append(pid)
client._wakeups._lock.release()
codes = [os.waitpid(pid, 0)[1] for pid in children]
assert codes == [0, 0, 0], codes
assert client._wakeups.stream == parent_stream
print("GO", flush=True)
texts = [future.result(20).content.text for future in in_flight]
assert texts == [f"SLOW {i}" for i in range(20)], texts
assert client.run(ask("after"), timeout=20).content.text == "AFTER"
print("DONE", flush=True)
"""


def test_a_client_that_was_used_before_a_fork_works_in_the_child(client, redis_url):
    with working(client._ledger, unless=lambda text: text.startswith("slow")) as held:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, redis_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        for claim in held:
            settle(client._ledger, claim)
        output, errors = process.communicate(timeout=60)
    assert (first, output) == ("GO\n", "DONE\n"), errors


def _in_a_worker(text):
    return _shared.run(ask(text), timeout=20).content.text


_shared: Client


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pool_of_forked_processes_shares_one_client(client):
    global _shared  # noqa: PLW0603 - as a service that is forked has it
    _shared = client
    with working(client._ledger):
        assert client.run(ask("x"), timeout=20).content == Summary(text="X")
        default = (signal.SIGTERM, signal.SIG_DFL)  # not the handler of this process
        fork = multiprocessing.get_context("fork")
        with fork.Pool(3, initializer=signal.signal, initargs=default) as pool:
            texts = pool.map_async(_in_a_worker, [f"t{i}" for i in range(12)]).get(60)
        assert client.run(ask("y"), timeout=20).content == Summary(text="Y")
    assert texts == [f"T{i}" for i in range(12)]


def test_a_client_that_was_closed_stays_closed_in_the_child(settings):
    client = Client(tenant="acme", settings=settings)
    client.close()
    client._wakeups.begin_in_child()
    with pytest.raises(Unavailable, match="the client is closed"):
        client.run(ask())


@pytest.mark.parametrize("entry", [{"x": "y"}, {"id": b"\xff\xfe"}, {"id": ""}, {"id": "junk"}])
def test_an_entry_that_nobody_can_read_does_not_end_the_thread(client, redis, entry):
    future = client.submit_future(ask())
    redis.xadd(client._wakeups.stream, entry)
    time.sleep(0.1)
    settle(client._ledger, client._ledger.claim("route"))
    assert future.result(5).content == Summary(text="HELLO")
    assert all(each.is_alive() for each in client._wakeups._listeners.values())


def test_a_job_whose_end_redis_lost_in_a_failover_is_waited_for(client, redis):
    job_id, future = client.submit_with_future(ask())
    redis.xadd(client._wakeups.stream, {"id": job_id, "state": "done"})
    time.sleep(0.1)
    settle(client._ledger, client._ledger.claim("route"))
    assert future.result(5).content == Summary(text="HELLO")


def test_a_surprise_is_logged_by_type_and_place_and_the_thread_goes_on(client, monkeypatch, caplog):
    results, calls = client._ledger.results, []

    def broken(job_ids):
        calls.append(job_ids)
        if len(calls) < 3:
            raise KeyError("kanarie")
        return results(job_ids)

    monkeypatch.setattr(client._ledger, "results", broken)
    with caplog.at_level(logging.WARNING):
        future = client.submit_future(ask())
        settle(client._ledger, client._ledger.claim("route"))
        assert future.result(10).content == Summary(text="HELLO")
    assert "KeyError at " in caplog.text
    assert "test_wakeups.py:" in caplog.text
    assert "kanarie" not in caplog.text


def test_a_client_can_be_closed_by_a_callback_of_its_own_future(client, settings):
    closing = Client(tenant="acme", settings=settings)
    future = closing.submit_future(ask())
    listeners = list(closing._wakeups._listeners.values())
    future.add_done_callback(lambda _: closing.close())
    settle(client._ledger, client._ledger.claim("route"))
    assert future.result(5).content == Summary(text="HELLO")
    (listener,) = listeners
    listener._thread.join(5)
    assert not listener.is_alive()


def test_a_wait_for_an_unknown_job_leaves_nothing_behind(client, monkeypatch):
    job_id = client.submit(ask())

    def away(*_):
        raise Unavailable("Redis cannot be reached")

    monkeypatch.setattr(client._ledger, "watch_all", away)
    with pytest.raises(Unavailable) as caught:
        client.result(job_id, timeout=1)
    assert caught.value.job_id == job_id
    assert client._wakeups._expected == {}
