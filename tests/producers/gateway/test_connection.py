"""A client with half a request holds neither a connection nor memory."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
import uvicorn

from forebay.producers.gateway.server import connection
from forebay.producers.gateway.server.connection import MAX_HEAD_BYTES, Connection
from patience import until

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def echo(scope, receive, send):
    """Answer with the number of bytes of the body."""
    size, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port():
    config = uvicorn.Config(
        echo, port=0, http=Connection, lifespan="off", log_config=None, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def sent(port, *pieces, pause_s=0.0):
    """Send pieces, and return all that comes back until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        heard = b""
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause_s)
            while data := client.recv(65_536):
                heard += data
        except ConnectionError:
            pass  # the server ended the connection before it had read all
        return heard


def test_requests_are_answered_one_after_the_other(port):
    asked = HEAD + b"content-length: 3\r\n\r\nabc"
    heard = sent(port, asked, asked[:10], asked[10:-1], asked[-1:], pause_s=0.05)
    assert heard.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("begun", [b"", HEAD[:5], HEAD])
def test_a_connection_without_a_whole_head_ends(port, monkeypatch, begun):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    assert sent(port, *([begun] if begun else []), *[b"x"] * 3, pause_s=0.1) == b""


def test_a_body_that_stands_still_ends_the_connection_and_a_slow_one_does_not(port, monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 0.3)
    head = HEAD + b"content-length: 6\r\n\r\n"
    assert sent(port, head, b"abc") == b""
    assert b"\r\n6\r\n" in sent(port, head, *[b"a"] * 6, pause_s=0.1)


@pytest.mark.parametrize("header", [b"x: " + b"a" * 4 * MAX_HEAD_BYTES, b"x: 1\r\n" * 40_000])
def test_a_head_that_is_too_large_is_refused_in_the_shape_of_other_errors(port, header):
    heard = sent(port, HEAD, *(header[at : at + 8_192] for at in range(0, len(header), 8_192)))
    if heard:  # what was left unread may have reset the connection before
        assert heard.startswith(b"HTTP/1.1 431 ")
        error = json.loads(heard.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == "request_header_fields_too_large"
        assert str(MAX_HEAD_BYTES) in error["message"]
    assert b"200 OK" not in heard


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_shape_of_other_errors(port, raw):
    head, _, body = sent(port, raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body)["error"]["code"] == "bad_request"
