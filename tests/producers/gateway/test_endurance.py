"""A killed gateway loses no job, and a thousand waiting clients cost no thread each."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import httpx2
import psutil
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

WAITERS = 1_000
HELD = {"kind": "generate", "messages": [{"role": "user", "content": "[[echo: delay=0.5]] a b c"}]}


@pytest.fixture
def lone(fleet):
    """Return a fleet with a gateway that takes no keys."""
    fleet.start_redis()
    for part in ("router", "local", "sweeper"):
        fleet.start(part, FOREBAY_ENGINE="echo")
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    return fleet


def test_a_killed_gateway_loses_no_job_that_it_had_taken(lone):
    (gateway,) = [proc for proc in lone.procs if proc.name == "gateway"]
    with httpx2.Client(base_url=lone.gateway_url, timeout=30) as http:
        taken = [http.post("/jobs", json=HELD).json()["id"] for _ in range(20)]
        lone.kill(gateway, signal.SIGKILL)
    lone.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    lone.wait_ready()
    with httpx2.Client(base_url=lone.gateway_url, timeout=60) as http:
        for job_id in taken:
            found = http.get(f"/jobs/{job_id}?wait=60").json()
            assert found["status"]["state"] == "done"
            assert found["answer"]["content"]["text"] == "a b c"


def test_a_client_of_a_killed_gateway_asks_again_and_gets_the_first_job(lone):
    (gateway,) = [proc for proc in lone.procs if proc.name == "gateway"]
    chat = {"model": "auto", "messages": HELD["messages"]}
    headers = {"idempotency-key": "the order of noon"}

    async def ask():
        async with httpx2.AsyncClient(base_url=lone.gateway_url, timeout=60) as http:
            return await http.post("/v1/chat/completions", json=chat, headers=headers)

    async def killed_meanwhile():
        asking = asyncio.ensure_future(ask())
        with redis_py.Redis.from_url(lone.url) as client:
            while not (jobs := client.keys("fb:job:acme.*")):  # noqa: ASYNC110 - by another process
                await asyncio.sleep(0.01)
        gateway.send(signal.SIGKILL)
        with pytest.raises(httpx2.TransportError):
            await asking
        return jobs[0].decode().removeprefix("fb:job:")

    job_id = asyncio.run(killed_meanwhile())
    lone.kill(gateway)
    lone.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    lone.wait_ready()
    again = asyncio.run(ask()).json()
    assert again["forebay"]["job_id"] == job_id
    assert again["choices"][0]["message"]["content"] == "a b c"


@pytest.mark.timeout(240)
def test_a_thousand_waiting_clients_cost_no_thread_each(fleet):
    fleet.start_redis()
    fleet.start("gateway", FOREBAY_GATEWAY_TENANT="acme")
    fleet.wait_ready()
    gateway = psutil.Process(fleet.procs[-1].pid)
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}

    async def threads_beside_waiters():
        """Return the gateway's threads before and while a thousand clients wait."""
        async with httpx2.AsyncClient(
            base_url=fleet.gateway_url, timeout=120, limits=httpx2.Limits(max_connections=None)
        ) as http:
            await http.get("/readyz")
            before = gateway.num_threads()
            asking = [http.post("/v1/chat/completions", json=chat) for _ in range(WAITERS)]
            waiting = asyncio.gather(*asking, return_exceptions=True)
            while depth() < WAITERS:  # noqa: ASYNC110 - another process makes it come true
                await asyncio.sleep(0.1)
            during = gateway.num_threads()
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            return before, during

    with redis_py.Redis.from_url(fleet.url) as client:

        def depth():
            return int(client.hget("fb:depth", "route") or 0)

        before, during = asyncio.run(threads_beside_waiters())
        assert during - before < 40
        until(lambda: depth() == 0, within_s=60)  # they went away, and so did their jobs
    assert gateway.is_running()
