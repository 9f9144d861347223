"""One request to one address, and no more."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from forebay.producers.gateway.webhooks import posting
from forebay.producers.gateway.webhooks.posting import NotDelivered, post
from receiver import receiving

HERE = (ip_network("127.0.0.0/8"),)


@contextmanager
def saying(data, *, hold=False):
    """Start a server that says these bytes to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def answer():
            connection, _ = server.accept()
            connection.sendall(data)
            held.append(connection) if hold else connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(5)
        for connection in held:
            connection.close()


def posted(url, networks=HERE):
    return asyncio.run(post(url, b'{"a":1}', {"x-own": "1"}, networks))


def test_a_body_is_posted_with_its_headers():
    with receiving() as receiver:
        assert posted(receiver.url) == 204
    ((headers, body),) = receiver.got
    assert body == b'{"a":1}'
    assert headers["x-own"] == "1"
    assert headers["host"] == receiver.url.split("/")[2]


def test_no_redirect_is_followed():
    with receiving() as receiver, receiving() as other:
        receiver.respond = lambda: (307, {"location": other.url})
        assert posted(receiver.url) == 307
        assert other.got == []


def test_loopback_is_not_called_unless_a_setting_allows_it():
    with receiving() as receiver:
        with pytest.raises(NotDelivered, match="not public"):
            posted(receiver.url, ())
        assert receiver.got == []


@pytest.mark.parametrize(
    "data", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9_000]
)
def test_a_response_that_is_none_is_told_in_one_error(data):
    with saying(data) as url, pytest.raises(NotDelivered, match="the connection failed"):
        posted(url)


def test_a_receiver_that_says_nothing_is_left(monkeypatch):
    monkeypatch.setattr(posting, "TIMEOUT_S", 0.3)
    going_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    with saying(going_on, hold=True) as url, pytest.raises(NotDelivered, match="no response"):
        posted(url)


def test_tls_is_checked():
    with receiving() as receiver, pytest.raises(NotDelivered, match="TLS failed"):
        posted(receiver.url.replace("http:", "https:"))


def test_a_closed_port_is_one_error():
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        posted("http://127.0.0.1:1/")
