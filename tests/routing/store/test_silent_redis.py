"""A Redis that accepts connections and never answers is noticed within seconds, by every part."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import redis

from forebay.producers.client import Client
from forebay.routing.broker.app import TRANSPORT, celery_app
from forebay.routing.errors import Unavailable
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings
from forebay.routing.store import connection
from hostile_tls import HostileTls
from local.fleet import Fleet
from patience import until
from slow_redis import SlowRedis

pytestmark = pytest.mark.slow

SECONDS = 10.0  # that a command or a request may take


@pytest.fixture(scope="module")
def silent_url():
    """The address of a server that accepts connections and reads, and never answers."""
    server, held = socket.create_server(("127.0.0.1", 0)), []

    def accept():
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
    server.close()
    for each in held:
        each.close()


ASKS = {
    "submit": lambda client: client.submit(Summarize(text="hello")),
    "status": lambda client: client.status(client.job(Summarize(text="x")).id),
    "cancel": lambda client: client.cancel(client.job(Summarize(text="x")).id),
}


def test_a_client_hears_of_it_within_seconds(silent_url):
    def heard(ask):
        """Return what a client is told, and after how long."""
        with Client(settings=Settings(redis_url=silent_url)) as client:
            begun = time.monotonic()
            with pytest.raises(Unavailable) as told:
                ask(client)
            return str(told.value), time.monotonic() - begun

    with ThreadPoolExecutor() as threads:  # each waits for a time-out of its own
        ends = dict(zip(ASKS, threads.map(heard, ASKS.values()), strict=True))
    assert all("Redis cannot be reached" in message for message, _ in ends.values())
    assert {name: took for name, (_, took) in ends.items() if took >= SECONDS} == {}


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_handshake_of_one_byte_after_the_other_is_given_up(monkeypatch, on_loop):
    brief = connection.Patience(connect_s=0.5, reply_s=0.5, retries=0)
    monkeypatch.setattr(connection, "PATIENCE", {"ask": brief})
    with HostileTls() as slow:
        settings = Settings(redis_url=f"rediss://127.0.0.1:{slow.port}/0")
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            asyncio.run(ping_on_loop(settings)) if on_loop else connection.connect(settings).ping()
        assert slow.met


@pytest.fixture
def slow(redis_url):
    with SlowRedis(urlsplit(redis_url).port, b"slow") as slow:
        yield slow


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_reply_of_one_byte_after_the_other_is_given_up(monkeypatch, slow, on_loop):
    brief = connection.Patience(connect_s=5, reply_s=0.5, retries=0)
    monkeypatch.setattr(connection, "PATIENCE", {"ask": brief})
    settings = Settings(redis_url=f"redis://127.0.0.1:{slow.port}/0")
    with pytest.raises(redis.TimeoutError, match=r"too long|Timeout reading"):
        asyncio.run(get_on_loop(settings)) if on_loop else connection.connect(settings).get("slow")
    assert slow.met


def test_the_broker_gives_up_such_a_reply_too(monkeypatch, slow):
    monkeypatch.setitem(TRANSPORT, "socket_timeout", 0.5)
    app = celery_app(Settings(redis_url=f"redis://127.0.0.1:{slow.port}/0"))
    with app.connection_for_read() as broker:
        channel = broker.default_channel
        with pytest.raises(redis.TimeoutError, match="too long"):
            channel._get("slow")
    assert slow.met


async def get_on_loop(settings):
    client = connection.connect_on_loop(settings)
    try:
        await client.get("slow")
    finally:
        await connection.close_on_loop(client)


async def ping_on_loop(settings):
    client = connection.connect_on_loop(settings)
    try:
        await client.ping()
    finally:
        await connection.close_on_loop(client)


def test_doctor_prints_what_it_has_and_ends_within_ten_seconds(silent_url):
    env = {**os.environ, "FOREBAY_REDIS_URL": silent_url}
    begin = "import sys, time; from forebay.producers.cli.main import run; begun = time.monotonic()"
    delayed = "int(open('/proc/self/schedstat').read().split()[1]) / 1e9"
    end = f"sys.exit(print(time.monotonic() - begun - {delayed}))"
    command = [sys.executable, "-c", f"{begin}; run(['doctor', '--json']); {end}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    document, _, took = done.stdout.strip().rpartition("\n")
    found = {each["name"]: each for each in json.loads(document)["checks"]}
    assert found["redis"]["state"] == "fail"
    assert "TimeoutError" in found["redis"]["seen"]
    assert "Python" in found["packages"]["seen"], "what does not need Redis is checked all the same"
    assert float(took) < SECONDS + 2  # to import what it checks on a busy machine


def test_a_worker_says_that_it_waits_and_the_gateway_is_not_ready(silent_url, tmp_path):
    env = {"FOREBAY_REDIS_URL": silent_url}
    with Fleet(tmp_path / "fleet") as fleet:
        worker, gateway = fleet.start("router", **env), fleet.start("gateway", **env)
        until(lambda: worker.logged(r"waiting: Redis cannot be reached"), 60)
        until(lambda: fleet.gateway_url, 60)
        begun = time.monotonic()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{fleet.gateway_url}/readyz", timeout=SECONDS)
        assert refused.value.code == 503
        assert re.search("Redis", refused.value.read().decode())
        assert time.monotonic() - begun < SECONDS
        assert worker.alive
        assert gateway.alive
