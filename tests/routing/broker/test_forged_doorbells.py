"""Whatever somebody puts into a queue is a doorbell: Celery does nothing that a message says."""

from __future__ import annotations

import base64
import bz2
import json
import re
from pathlib import Path

import pytest

from forebay.producers.client import Client
from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import doorbell
from forebay.routing.jobs import Summarize
from forebay.routing.settings import Settings
from patience import until

BOMB_BYTES = 300_000_000
VICTIM = "fb:victim"
NEXT = {
    "task": "x", "args": [], "kwargs": {}, "options": {"queue": VICTIM}, "subtask_type": None,
    "immutable": True,
}  # fmt: skip


def forged(embed=None, args=(), *, properties=None, packed=None, **headers) -> str:
    """Return a doorbell of the router in which something was changed."""
    bell = json.loads(doorbell("route", "1"))
    body = json.dumps([args, {}, {"callbacks": None, **(embed or {})}]).encode()
    bell["body"] = base64.b64encode(packed or body).decode()
    bell["headers"] |= headers
    bell["properties"] |= properties or {}
    return json.dumps(bell)


FORGED = {
    "date": forged(eta="2126-01-01T00:00:00+00:00"),
    "callback": forged({"callbacks": [NEXT]}), "chain": forged({"chain": [NEXT]}),
    "chord": forged({"chord": NEXT}), "errback": forged({"errbacks": [NEXT]}, args=[1]),
    "id-list": forged(id=["x"]), "id-none": forged(id=None), "id-huge": forged(id="x" * 1_000_000),
    "task": forged(task="no.such\nline"), "task-list": forged(task=["x"]),
    "limits": forged(timelimit=["x", "x"]), "retries": forged(retries="x"),
    "expires": forged(expires="x"), "tag": forged(properties={"delivery_tag": ["x"]}),
    "reply-to": forged(properties={"reply_to": VICTIM, "correlation_id": "x"}),
    "elsewhere": forged(properties={"delivery_info": {"exchange": "", "routing_key": VICTIM}}),
    "nothing": "", "no-json": "\x00", "list": "[]",
}  # fmt: skip


@pytest.fixture
def channel(redis, redis_url):
    connection = celery_app(Settings(redis_url=redis_url)).connection_for_read()
    channel = connection.default_channel
    channel.basic_qos(0, 10, False)
    yield channel
    connection.release()


def taken(channel):
    """Take an entry as Celery's loop does; return the message that Celery is given."""
    got = []
    channel.basic_consume("route", no_ack=False, callback=got.append, consumer_tag="c")
    channel.client.connection = channel.async_pool.get_connection()
    channel._brpop_start()
    until(lambda: channel.client.connection.can_read(0.1), 10)
    channel._brpop_read()
    channel.async_pool.release(channel.client.connection)
    channel.basic_cancel("c")
    (message,) = got
    return message


def without_ids(message) -> dict:
    ids = {"id", "root_id", "correlation_id", "delivery_tag"}
    content = {"headers": message.headers, "properties": message.properties}
    plain = {
        name: {k: v for k, v in part.items() if k not in ids} for name, part in content.items()
    }
    return {**plain, "body": message.payload, "type": message.content_type}


@pytest.mark.parametrize("forgery", FORGED.values(), ids=FORGED)
def test_celery_is_given_a_doorbell_whatever_is_in_the_queue(redis, channel, forgery):
    redis.lpush("route", doorbell("route", "2"))
    honest = taken(channel)
    redis.lpush("route", forgery)
    message = taken(channel)
    assert without_ids(message) == without_ids(honest)
    assert message.delivery_tag != honest.delivery_tag
    assert re.fullmatch(r"route\.[0-9a-f]{8}-\d+", message.headers["id"])


def peak_bytes(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.slow
def test_forged_messages_neither_stop_nor_fill_a_worker_nor_have_it_write(fleet):
    fleet.start_redis()
    router = fleet.start("router")
    fleet.wait_ready()
    with Client(settings=Settings(redis_url=fleet.url)) as client:
        redis, before = client._ledger.redis, peak_bytes(router)
        bomb = forged(packed=bz2.compress(bytes(BOMB_BYTES)), compression="application/x-bz2")
        for message in [*FORGED.values(), bomb]:
            redis.lpush("route", message)
        until(lambda: not redis.llen("route"), 30)
        job = client.submit(Summarize(text="We met at noon."), egress="allow")
        until(lambda: client.status(job).hop != "route", 30)
        assert not redis.exists(VICTIM)
    assert router.alive
    assert not router.logged("Traceback|ERROR|CRITICAL")
    assert peak_bytes(router) - before < BOMB_BYTES / 4
