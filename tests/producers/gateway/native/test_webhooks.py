"""Webhooks over HTTP: added, tested, told of what ends in a real fleet, and removed."""

from __future__ import annotations

import json

import openai
import pytest

from patience import until
from receiver import receiving

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def added(http, receiver):
    """Return a webhook of the tenant at the receiver; it is removed at the end."""
    webhook = http.post("/webhooks", json={"url": receiver.url}).json()
    yield webhook
    http.delete(f"/webhooks/{webhook['id']}")


def told(receiver, about):
    """Return the first event about something that came, with its headers."""
    for headers, body in list(receiver.got):
        if json.loads(body)["data"].get("id") == about:
            return headers, body
    return None


def test_a_webhook_is_tested_listed_and_removed(http, receiver, added):
    tested = http.post(f"/webhooks/{added['id']}/test").json()
    assert (tested["delivered"], tested["outcome"]) == (True, "HTTP 204")
    headers, body = receiver.got[0]
    openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=added["secret"])
    (listed,) = http.get("/webhooks").json()["webhooks"]
    assert listed["last"]["outcome"] == "HTTP 204"
    assert "secret" not in listed
    assert http.delete(f"/webhooks/{added['id']}").json()["removed"]
    assert http.get("/webhooks").json()["webhooks"] == []
    assert http.post(f"/webhooks/{added['id']}/test").status_code == 404


def test_a_new_secret_and_the_old_one_both_sign_until_the_overlap_ends(http, receiver, added):
    path, unwrap = f"/webhooks/{added['id']}", openai.OpenAI(api_key="none").webhooks.unwrap
    rotated = http.post(f"{path}/rotate", json={"overlap": "1h"}).json()
    assert rotated["secret"] != added["secret"]
    http.post(f"{path}/test")
    headers, body = receiver.got[-1]
    for secret in (added["secret"], rotated["secret"]):
        unwrap(body, headers, secret=secret)
    last = http.post(f"{path}/rotate", json={"overlap": "0s"}).json()
    assert "old_secret" not in last
    http.post(f"{path}/test")
    headers, body = receiver.got[-1]
    unwrap(body, headers, secret=last["secret"])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(body, headers, secret=rotated["secret"])
    for overlap in ("soon", "8d"):
        wrong = http.post(f"{path}/rotate", json={"overlap": overlap})
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "overlap")
    assert http.post("/webhooks/wh_0/rotate").status_code == 404


def test_jobs_batches_and_bulks_are_told(http, receiver, added, openai_client):
    job_id = http.post("/jobs", json={"kind": "summarize", "text": "A text. Of two."}).json()["id"]
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    data = json.dumps({"custom_id": "a", "url": CHAT, "body": body}).encode()
    file = openai_client.files.create(file=("a.jsonl", data), purpose="batch")
    batch = openai_client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h"
    )
    rows = openai_client.files.create(
        file=("b.jsonl", b'{"kind": "summarize", "text": "A text. Of two."}'), purpose="batch"
    )
    bulk_id = http.post("/bulks", json={"input_file_id": rows.id}).json()["id"]
    expected = {"job.done": job_id, "batch.completed": batch.id, "bulk.done": bulk_id}
    for kind, about in expected.items():
        headers, raw = until(lambda about=about: told(receiver, about), within_s=40)
        event = openai_client.webhooks.unwrap(raw, headers, secret=added["secret"])
        assert event.type == kind
    events = [json.loads(raw) for _, raw in receiver.got]  # others of the tenant may end meanwhile
    ours = [event["type"] for event in events if event["data"].get("id") in expected.values()]
    assert sorted(ours) == sorted(expected)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "example.com"}, "url"),
        ({"url": "https://example.com", "events": ["job.gone"]}, "events.0"),
        ({"url": "https://example.com", "secret": "x"}, "secret"),
        ({}, "url"),
        ({"url": "https://10.0.0.1"}, "url"),
        ({"url": "https://[::ffff:169.254.169.254]/latest"}, "url"),
        ({"url": "https://2886729729"}, "url"),
        ({"url": "http://93.184.216.34"}, "url"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_with_its_field(http, body, field):
    response = http.post("/webhooks", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["field"] == field


def test_a_key_without_the_scope_adds_none(http, keys):
    other = {"authorization": f"Bearer {keys.create('acme')[1]}"}
    response = http.post("/webhooks", json={"url": "https://example.com"}, headers=other)
    assert response.status_code == 403
