"""The doorbell: the same message as Celery publishes, and one that a stock worker accepts."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from forebay.routing.broker.app import celery_app
from forebay.routing.broker.doorbell import packaged_template, template
from forebay.routing.jobs import Job, Summarize
from forebay.routing.ledger.ledger import Ledger
from forebay.routing.settings import Settings
from patience import until

STOCK = """
from celery import Celery
app = Celery("stock", broker={url!r})
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1)
app.conf.broker_transport_options = {{"priority_steps": [0]}}
import redis
client = redis.Redis.from_url({url!r})

@app.task(name="forebay.route", bind=True)
def route(self, *args, **kwargs):
    client.rpush("rung", self.request.id)
"""


@pytest.fixture
def settings(redis_url):
    return Settings(redis_url=redis_url)


def without_ids(value):
    """Return a message without the fields that differ from message to message."""
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items() if key not in FRESH}
    return value


FRESH = {"id", "root_id", "correlation_id", "delivery_tag", "reply_to", "origin"}


def test_a_ring_is_what_apply_async_publishes(redis, settings):
    app = celery_app(settings)

    @app.task(name="forebay.route")
    def route():
        """Published and never run."""

    route.apply_async()
    published = json.loads(redis.lpop("route"))
    Ledger(redis, settings, template(app)).create([Job(request=Summarize(text="hello"))])
    rung = json.loads(redis.lpop("route"))
    assert without_ids(rung) == without_ids(published)
    assert rung["headers"].keys() == published["headers"].keys()
    assert rung["properties"].keys() == published["properties"].keys()


def test_the_packaged_template_is_what_this_celery_makes(settings):
    assert packaged_template() == template(celery_app(settings))


def test_every_ring_has_its_own_id_and_delivery_tag(redis, settings):
    ledger = Ledger(redis, settings, template(celery_app(settings)))
    ledger.create([Job(request=Summarize(text="hello")) for _ in range(20)])
    messages = [json.loads(message) for message in redis.lrange("route", 0, -1)]
    assert len({message["headers"]["id"] for message in messages}) == 20
    assert len({message["properties"]["delivery_tag"] for message in messages}) == 20
    assert {message["headers"]["id"] for message in messages} == {
        "route.1",
        *(f"route.1-{n}" for n in range(2, 21)),
    }


def test_a_ring_names_the_queue_and_nothing_else_of_the_job(redis, settings):
    ledger = Ledger(redis, settings, template(celery_app(settings)))
    job = Job(
        request=Summarize(text="CANARY-text", focus="CANARY-focus"),
        metadata={"CANARY-key": "CANARY-value"},
        idempotency_key="CANARY-idempotency",
    )
    ledger.create([job])
    (message,) = redis.lrange("route", 0, -1)
    assert b"CANARY" not in message
    assert job.id.encode() not in message
    for key in redis.keys():
        assert b"CANARY" not in key
        assert b"CANARY" not in redis.dump(key)  # contents are packed, records hold none


def test_a_stock_celery_worker_consumes_the_rings(redis, redis_url, settings, tmp_path):
    ledger = Ledger(redis, settings, template(celery_app(settings)))
    ledger.create([Job(request=Summarize(text="hello")) for _ in range(5)])
    (tmp_path / "stock.py").write_text(STOCK.format(url=redis_url))
    command = [sys.executable, "-m", "celery", "-A", "stock", "worker", "-P", "solo", "-Q", "route"]
    worker = subprocess.Popen(
        [*command, "--without-mingle", "--without-gossip"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: redis.llen("rung") >= 5, 30)
        time.sleep(0.3)
    finally:
        worker.terminate()
        worker.wait(10)
    rings = [b"route.1", *(f"route.1-{n}".encode() for n in range(2, 6))]
    assert sorted(redis.lrange("rung", 0, -1)) == rings
    assert redis.hlen("unacked") == 0
