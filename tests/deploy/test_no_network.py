"""A local lane without any network answers everything: all it needs is Redis' socket.

The kernel keeps it from every other host, whatever our code does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forebay import (
    Classify,
    Client,
    Decide,
    Embed,
    Extract,
    Generate,
    Message,
    Predicate,
    Summarize,
)
from forebay.routing.settings import Settings
from hosts import missing
from local.fleet import PYTHON, Fleet
from local.process import Process

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(400)]

#: Loopback is up: the engine's own processes may use it.
ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')
REQUESTS = (
    Classify(text="My card was charged twice.", labels=["billing", "login"]),
    Extract(
        text="The total is 17 euros.",
        schema={"type": "object", "properties": {"total": {"type": "integer"}}},
    ),
    Summarize(text="The parcel came late. Nobody had been told. The customer was not pleased."),
    Generate(messages=[Message(role="user", content="Say hello.")], max_tokens=8),
    Decide(
        state="The parcel came late.",
        questions=[Predicate(name="late", instructions="Is it late?")],
    ),
    Embed(texts=["a parcel", "a bill"]),
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, short_folder):
    """Start a router, a local worker and a sweeper without a network."""
    if why := missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("alone")
    socket = short_folder / "redis.sock"
    with Fleet(folder / "fleet") as fleet:
        fleet.start_redis(unixsocket=str(socket))
        env = {**os.environ, "FOREBAY_REDIS_URL": f"unix://{socket}"}
        parts = [start(part, env, folder) for part in ("router", "local", "sweeper")]
        for part in parts:
            part.wait_ready(150)
        yield fleet.url, parts
        for part in parts:
            part.kill_group()


def start(part, env, folder):
    command = ["celery", "-A", f"forebay.workers.{part}", "worker", "-n", f"{part}@%h"]
    words = [*ALONE, PYTHON, "-m", *command, "--loglevel", "INFO"]
    ready = rf"{part}@\S+ ready"
    log = folder / f"{part}.log"
    return Process(part, words, env=env, log=log, ready=lambda p: p.logged(ready) is not None)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.kind)
def test_every_kind_is_answered_without_a_network(request_, alone):
    url, _ = alone
    with Client(tenant="acme", settings=Settings(redis_url=url)) as client:
        answer = client.run(request_, timeout=100)
    assert answer.lane == "local"


def test_there_was_no_network(alone):
    assert shutil.which("nsenter")
    for part in alone[1]:
        words = ["nsenter", "--target", str(part.pid), "--net", "ip", "-brief", "link"]
        links = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert [line.split()[0] for line in links.splitlines()] == ["lo"]
        assert Path(f"/proc/{part.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
