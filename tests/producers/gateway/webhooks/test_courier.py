"""Events are delivered once, again after failures, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from ipaddress import ip_network

import openai
import pytest

from forebay.producers.client import Client
from forebay.producers.gateway.batches.batch_store import BatchStore
from forebay.producers.gateway.webhooks import courier as courier_module
from forebay.producers.gateway.webhooks.courier import Courier
from forebay.producers.gateway.webhooks.deliveries import BACKOFF_S, DUE, Deliveries
from forebay.producers.gateway.webhooks.events import Events
from forebay.producers.gateway.webhooks.webhook_store import WebhookStore
from forebay.routing.errors import InvalidJob, UnknownJob
from forebay.routing.jobs import Answer, Generate
from forebay.routing.settings import Settings
from forebay.routing.store.encryption import PLAIN
from forebay.routing.store.lease import Lease
from receiver import receiving

CHAT = Generate(messages=[{"role": "user", "content": "Say xyzzy."}])


class Office:
    """The parts of one courier over one Redis."""

    def __init__(self, redis, url):
        self.redis = redis
        self.client = Client(tenant="acme", settings=Settings(redis_url=url))
        self.lease = Lease(redis, "webhooks")
        self.store = WebhookStore(redis, PLAIN)
        self.deliveries = Deliveries(redis)
        ledger = self.client._ledger
        events = Events(ledger, BatchStore(redis))
        networks = (ip_network("127.0.0.0/8"),)

        async def on_thread(call, *args):
            return await asyncio.to_thread(call, *args)

        self.courier = Courier(self.store, self.deliveries, events, networks, on_thread)

    def work(self, until, within_s=10.0):
        """Run the courier until this is true."""

        async def run():
            task = asyncio.ensure_future(self.courier.run(self.lease))
            end = time.monotonic() + within_s
            try:
                while not until():
                    assert time.monotonic() < end, "it did not come true"
                    await asyncio.sleep(0.02)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

        asyncio.run(run())

    def make_due(self):
        for name in self.redis.zrange(DUE, 0, -1):
            self.redis.zadd(DUE, {name: 0})

    def ended(self, **options):
        """Return a job that has ended."""
        job_id = self.client.submit(CHAT, **options)
        self.client.cancel(job_id)
        return job_id

    def nothing_left(self):
        return not self.redis.zcard(DUE) and not self.redis.keys("fb:webhook:*")


@pytest.fixture
def office(redis, redis_url, monkeypatch):
    monkeypatch.setattr(courier_module, "LOOK_EVERY_S", 0.02)
    office = Office(redis, redis_url)
    yield office
    office.client.close()


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def test_the_end_of_a_job_is_told_signed_once(office, receiver):
    _, secret = office.store.add("acme", receiver.url)
    job_id = office.ended()
    office.work(lambda: receiver.got and office.nothing_left())
    ((headers, body),) = receiver.got
    event = openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)
    assert (event.type, event.object) == ("job.cancelled", "event")
    assert event.data["id"] == job_id if isinstance(event.data, dict) else event.data.id == job_id
    assert headers["webhook-id"] == event.id
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="none").webhooks.unwrap(body + b" ", headers, secret=secret)
    assert b"xyzzy" not in body


def test_only_the_events_that_a_webhook_wants_are_told(office, receiver):
    office.store.add("acme", receiver.url, events=["response.cancelled"])
    job_id = office.ended()
    office.work(lambda: receiver.got and office.nothing_left())
    (event,) = [json.loads(body) for _, body in receiver.got]
    assert event["type"] == "response.cancelled"
    assert event["data"] == {"id": f"resp_{job_id.partition('.')[2]}"}


def test_without_a_webhook_nothing_is_written_down(office):
    office.ended()
    webhook, _ = office.store.add("acme", "https://example.com/")
    office.store.remove("acme", webhook.id)
    office.ended()
    assert office.redis.keys("fb:wake:*webhooks") == []


def test_nothing_is_left_of_a_tenants_last_webhook(office):
    """Not even ends that nobody was told of yet."""
    webhook, _ = office.store.add("acme", "https://example.com/")
    office.ended()
    assert office.redis.keys("fb:w*:*webhooks")
    office.store.remove("acme", webhook.id)
    assert office.redis.keys("fb:w*:*webhooks") == []


def test_a_webhook_that_was_removed_meanwhile_does_not_come_back(office):
    webhook, _ = office.store.add("acme", "https://example.com/")
    office.store.remove("acme", webhook.id)
    office.store.note(webhook, "HTTP 410")
    office.store.disable(webhook)
    assert office.redis.keys("fb:w*") == []


def test_a_failed_delivery_is_tried_again_later_each_time(office, receiver):
    office.store.add("acme", receiver.url)
    receiver.respond = lambda: (500, {})
    office.ended()
    for tries in range(len(BACKOFF_S)):
        before = time.time()
        office.work(lambda tries=tries: len(receiver.got) == tries + 1 and tries_of(office))
        ((_, due),) = office.redis.zrange(DUE, 0, -1, withscores=True)
        assert due / 1000 - before == pytest.approx(BACKOFF_S[tries], rel=0.5, abs=6)
        office.make_due()
    receiver.respond = lambda: (200, {})
    office.work(office.nothing_left)
    ids = {headers["webhook-id"] for headers, _ in receiver.got}
    assert len(ids) == 1
    assert len(receiver.got) == len(BACKOFF_S) + 1


def tries_of(office):
    """Return whether the last try was booked: nothing is under way."""
    return not office.courier._under_way


def test_a_delivery_is_given_up_after_its_last_try(office, receiver, caplog):
    office.store.add("acme", receiver.url)
    receiver.respond = lambda: (503, {})
    office.ended()
    office.work(lambda: receiver.got and tries_of(office))
    (name,) = office.redis.keys("fb:webhook:*")
    office.redis.hset(name, "tries", str(len(BACKOFF_S)))
    office.make_due()
    office.work(office.nothing_left)
    assert "took none of the tries" in caplog.text


def test_an_event_whose_gateway_died_in_between_is_delivered_by_another(office, receiver):
    office.store.add("acme", receiver.url)
    office.ended()
    office.courier._take_ends()
    (delivery,) = office.deliveries.due(10)
    office.deliveries.begin(delivery)  # and here it dies
    assert office.deliveries.due(10) == []
    office.make_due()
    office.work(lambda: receiver.got and office.nothing_left())
    assert len(receiver.got) == 1


def test_an_end_that_is_taken_twice_is_one_event(office, receiver):
    office.store.add("acme", receiver.url)
    office.ended()
    (entry,) = office.redis.xrange("fb:wake:acme:webhooks")
    office.courier._take_ends()
    office.redis.xadd("fb:wake:acme:webhooks", entry[1])
    office.courier._take_ends()
    assert office.redis.zcard(DUE) == 1


def test_a_receiver_that_is_gone_is_told_of_nothing_any_more(office, receiver):
    webhook, _ = office.store.add("acme", receiver.url)
    receiver.respond = lambda: (410, {})
    office.ended()
    office.work(lambda: receiver.got and office.nothing_left())
    assert office.store.get("acme", webhook.id).disabled is not None
    office.ended()
    office.work(lambda: not office.redis.xlen("fb:wake:acme:webhooks"))
    assert len(receiver.got) == 1


def test_a_slow_receiver_keeps_no_other_waiting(office, receiver):
    with receiving() as slow:
        slow.respond = lambda: (time.sleep(0.5), (204, {}))[1]
        office.store.add("acme", slow.url, events=["job.cancelled"])
        for _ in range(12):
            office.ended()
        office.store.add("acme", receiver.url, events=["job.cancelled"])
        office.ended()
        begun = time.monotonic()
        office.work(lambda: receiver.got)
        assert time.monotonic() - begun < 10
        assert len(slow.got) <= 12


def test_content_is_sent_only_if_asked_for_and_allowed(office):
    plain, _ = office.store.add("acme", "https://example.com/a")
    with_content, _ = office.store.add("acme", "https://example.com/b", content=True)
    ledger = office.client._ledger
    for egress, webhook, sent in (
        ("allow", with_content, True), ("allow", plain, False), ("deny", with_content, False),
    ):  # fmt: skip
        job_id = office.client.submit(CHAT, egress=egress)
        settle(ledger, job_id, egress)
        office.courier._take_ends()
        (delivery,) = [
            each
            for each in office.deliveries.due(50)
            if each.about == job_id and each.webhook == webhook.id
        ]
        body = office.courier._events.body(delivery, webhook)
        assert (b"plugh" in body) is sent
        assert json.loads(body)["data"]["egress"] == egress


def settle(ledger, job_id, egress):
    """Answer a job as a worker does."""
    claim = ledger.claim("route")
    assert claim.id == job_id
    content = {"kind": "generate", "text": "plugh", "finish": "stop"}
    ledger.settle(claim, Answer.model_validate({
        "id": job_id, "kind": "generate", "egress": egress, "status": "done", "lane": "local",
        "content": content,
    }))  # fmt: skip


@pytest.mark.parametrize(
    ("url", "events", "field"),
    [
        ("ftp://example.com/", (), "url"),
        ("https://user:secret@example.com/", (), "url"),
        ("https://example.com/#a", (), "url"),
        ("https://", (), "url"),
        ("https://example.com:0/", (), "url"),
        ("https://example.com/", ("job.gone",), "events"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_with_its_field(office, url, events, field):
    with pytest.raises(InvalidJob) as refused:
        office.store.add("acme", url, events=events)
    assert refused.value.field.startswith(field)
    assert "secret" not in str(refused.value)


def test_another_tenants_webhook_does_not_exist(office):
    webhook, _ = office.store.add("acme", "https://example.com/")
    with pytest.raises(UnknownJob):
        office.store.remove("globex", webhook.id)
