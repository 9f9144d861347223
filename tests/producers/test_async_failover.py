"""The client for asyncio behind Sentinels and with encrypted contents."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from cryptography.fernet import Fernet

from failover import Watched
from forebay.producers.async_client import AsyncClient
from forebay.routing.broker.doorbell import packaged_template
from forebay.routing.errors import ForebayError
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from forebay.routing.store.connection import connect
from working import ask, settle, working

pytestmark = pytest.mark.slow


@pytest.fixture
def watched(tmp_path):
    servers = Watched(tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@contextmanager
def working_through_a_failover(settings, released):
    """Settle jobs on a thread, whatever Redis does; those that say "hold" once it is allowed."""
    stopped, held = threading.Event(), []

    def step(ledger):
        claim = ledger.claim("route")
        if claim is None:
            time.sleep(0.02)
        elif claim.job().request.text == "hold":
            held.append(claim)
        else:
            settle(ledger, claim)
        while held and released.is_set():
            settle(ledger, held[0])
            held.pop(0)

    def work():
        with connect(settings) as redis:
            ledger = Ledger(redis, settings, packaged_template)
            while not stopped.is_set():
                with suppress(ForebayError):
                    step(ledger)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_it_submits_and_waits_through_a_failover(watched):
    settings, released = Settings(redis_url=watched.url), threading.Event()

    async def main():
        async with AsyncClient(tenant="acme", settings=settings, patience=60) as client:
            before = await client.run(ask("before"), timeout=60)
            waiting = asyncio.create_task(client.run(ask("hold"), timeout=100))
            await asyncio.to_thread(watched.wait_replicated, "fb:leases")  # of the job that is held
            await asyncio.to_thread(watched.kill_primary)
            after = await client.run(ask("after"), timeout=60)
            released.set()
            return [answer.content.text for answer in (before, after, await waiting)]

    with working_through_a_failover(settings, released):
        assert asyncio.run(main()) == ["BEFORE", "AFTER", "HOLD"]


def test_contents_are_encrypted_if_there_are_keys(redis, redis_url):
    settings = Settings(redis_url=redis_url, content_keys=Fernet.generate_key().decode())

    async def main():
        async with AsyncClient(tenant="acme", settings=settings) as client:
            handle = await client.submit(ask("kanarie"))
            stored = redis.get(f"fb:content:{handle}")
            with working(Ledger(redis, settings, packaged_template)):
                return stored, (await client.result(handle, timeout=20)).content.text

    stored, text = asyncio.run(main())
    assert stored.startswith(b"f")
    assert text == "KANARIE"
