"""What our transport changes in kombu's: doorbells that were taken cost Redis nothing more."""

from __future__ import annotations

import base64
import bz2
import json

import pytest

from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import doorbell, packaged_template
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from ledger_jobs import job, put

WRITES = ("zadd", "hset", "zrem", "hdel", "multi", "exec")


@pytest.fixture
def channel(redis_url):
    connection = celery_app(Settings(redis_url=redis_url)).connection_for_read()
    channel = connection.default_channel
    channel.basic_qos(0, 10, False)
    yield channel
    connection.release()


@pytest.fixture
def ledger(redis):
    return Ledger(redis, Settings(), packaged_template())


def taken(channel, count):
    """Take doorbells as a worker does; return their tags."""
    got = []
    channel.basic_consume("route", no_ack=False, callback=got.append, consumer_tag="c")
    for _ in range(count):
        channel.connection._deliver(channel._get("route"), "route")
    return [message.delivery_tag for message in got]


def calls(redis):
    stats = redis.info("commandstats")
    return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in WRITES}


def test_taking_and_answering_a_doorbell_writes_nothing_to_redis(redis, ledger, channel):
    put(ledger, *(job() for _ in range(3)))
    before = calls(redis)
    tags = taken(channel, 3)
    for tag in tags:
        channel.basic_ack(tag)
    assert calls(redis) == before
    assert len(tags) == 3


def test_a_worker_takes_no_more_doorbells_than_it_may_hold(ledger, channel):
    put(ledger, *(job() for _ in range(12)))
    tags = taken(channel, 10)
    assert not channel.qos.can_consume()
    channel.basic_ack(tags[0])
    assert channel.qos.can_consume()


def test_a_channel_that_closes_pushes_back_the_doorbells_that_were_not_answered(
    redis, ledger, channel
):
    put(ledger, *(job() for _ in range(3)))
    tags = taken(channel, 3)
    assert redis.llen("route") == 0
    channel.basic_ack(tags[1])
    channel.close()
    assert redis.llen("route") == 2
    assert tags[1].encode() not in b"".join(redis.lrange("route", 0, -1))


def test_doorbells_that_cannot_be_pushed_back_are_dropped_without_an_error(
    redis, ledger, channel, capfd, monkeypatch
):
    put(ledger, *(job() for _ in range(3)))
    taken(channel, 3)

    def broken(*_):
        raise ConnectionError("Redis is away")

    monkeypatch.setattr(channel, "_restore", broken)
    channel.close()
    assert redis.llen("route") == 0
    assert capfd.readouterr().err == ""


PACKED = base64.b64encode(bz2.compress(bytes(1_000_000))).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"compression": "application/x-bz2"}},
        {"content-type": "application/data", "content-encoding": "bz2"},
        {"content-type": "application/x-python-serialize", "content-encoding": "binary"},
    ],
    ids=str,
)
def test_no_message_of_any_kind_is_unpacked(channel, change):
    payload = {**json.loads(doorbell("route", "1")), "body": PACKED, **change}
    with pytest.raises(ValueError, match=r"not JSON|compressed"):
        channel.Message(payload, channel=channel)
