"""What surrounds a request: no error shows content, in the response or in the log."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from forebay.producers.gateway.server.envelope import Envelope
from forebay.producers.gateway.server.figures import Figures

CANARY = "the canary in the job"


def scope(path="/v1/chat/completions", headers=()):
    return {"type": "http", "method": "POST", "path": path, "headers": list(headers)}


def carried_out(app, path="/v1/chat/completions", headers=(), bodies=(b"",)):
    """Return the messages that a request gets."""
    waiting, sent = list(bodies), []

    async def receive():
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    envelope = Envelope(app, max_body=100, figures=Figures(None))
    asyncio.run(envelope(scope(path, headers), receive, send))
    return sent


async def broken(scope, receive, send):
    raise ValueError(CANARY)


async def broken_midway(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ValueError(CANARY)


async def reads(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/jobs"])
def test_an_unexpected_error_is_told_by_its_request_and_place_only(path, caplog):
    with caplog.at_level(logging.INFO):
        start, body = carried_out(broken, path)
    assert start["status"] == 503
    error = json.loads(body["body"])["error"]
    assert error["code"] == "internal"
    assert CANARY not in str(body) + caplog.text
    request_id = dict(start["headers"])[b"x-request-id"].decode()
    assert f"request {request_id} broke: ValueError at " in caplog.text


def test_an_error_midway_ends_the_connection_without_its_message(caplog):
    with caplog.at_level(logging.INFO), pytest.raises(ConnectionAbortedError) as caught:
        carried_out(broken_midway)
    assert CANARY not in caplog.text + str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("headers", "bodies"),
    [
        ([(b"content-length", b"101")], [b"x"]),
        ([], [b"x" * 60, b"x" * 60]),
        ([(b"content-length", b"5")], [b"x" * 101]),
        ([(b"content-length", b"nonsense")], [b"x" * 101]),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_is_read(headers, bodies):
    start, body = carried_out(reads, headers=headers, bodies=bodies)
    assert start["status"] == 413
    assert json.loads(body["body"])["error"]["param"] == "body"


def test_a_body_of_the_limit_is_read():
    (start,) = carried_out(reads, bodies=[b"x" * 100])
    assert start["status"] == 200


def test_other_protocols_pass():
    passed = []

    async def app(scope, receive, send):
        passed.append(scope["type"])

    envelope = Envelope(app, max_body=100, figures=Figures(None))
    asyncio.run(envelope({"type": "lifespan"}, None, None))
    assert passed == ["lifespan"]
