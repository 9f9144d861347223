"""What arrives when no client library stands between: bodies, paths and connections."""

from __future__ import annotations

import gzip
import json
import socket
from urllib.parse import urlsplit

import h11
import pytest

pytestmark = pytest.mark.slow

PATH = "/v1/chat/completions"
BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (gzip.compress(BODY, mtime=0), "compressed"),
        (BODY[:-1], "EOF while parsing an object at line 1"),
        (BODY.replace(b"Hello", "Grüezi".encode("latin1")), "UTF-8"),
        (b"model=auto", "expected"),
        (b"[" * 100_000, "must be JSON"),
    ],
)
def test_a_body_that_is_no_json_says_what_is_wrong_with_it(http, body, words):
    for path in (PATH, "/v1/messages", "/jobs"):
        response = http.post(path, content=body)
        message = response.json()["error"]["message"]
        assert (response.status_code, words in message) == (400, True), message
        assert "Hello" not in message


def test_a_body_in_chunks_and_of_any_type_is_read(http):
    chunks = (BODY[at : at + 7] for at in range(0, len(BODY), 7))
    response = http.post(PATH, content=chunks, headers={"content-type": "text/plain"})
    assert response.json()["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize("path", [f"{PATH}/", f"{PATH}//", "/v1/models/", "/jobs/"])
def test_a_slash_at_the_end_of_a_path_leads_to_no_other_host(http, path):
    method = "GET" if "models" in path else "POST"
    body = json.dumps({"kind": "generate", "messages": [{"role": "user", "content": "Hello."}]})
    response = http.request(method, path, content=body if path == "/jobs/" else BODY)
    assert response.status_code in {200, 202}


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1", {}, "openai"),
        ("/v1/models/nine", {}, "openai"),
        ("/v1/models/nine", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/messages/nine", {}, "anthropic"),
        ("/nine", {"anthropic-version": "2023-06-01"}, "native"),
    ],
)
def test_an_error_has_the_shape_of_the_format_that_asks(http, path, headers, shape):
    response = http.get(path, headers=headers)
    body = response.json()
    found = "anthropic" if body.get("type") == "error" else "openai"
    assert response.status_code == 404
    assert ("native" if "field" in body["error"] and found != "anthropic" else found) == shape


def test_a_connection_serves_on_after_an_error(served, key):

    host, port = urlsplit(served.gateway_url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        line = h11.Connection(h11.CLIENT)
        for body, status in ((b"{", 400), (BODY, 200), (b"", 400), (BODY, 200)):
            headers = {
                "host": host, "authorization": f"Bearer {key}", "content-length": str(len(body)),
            }  # fmt: skip
            head = h11.Request(method="POST", target=PATH, headers=list(headers.items()))
            connection.sendall(line.send(head) + line.send(h11.Data(data=body)))
            connection.sendall(line.send(h11.EndOfMessage()) or b"")
            assert _response(line, connection) == status
            line.start_next_cycle()


def _response(line, connection):
    """Read a response to its end, and return its status."""
    status = None
    while type(event := line.next_event()) is not h11.EndOfMessage:
        if event is h11.NEED_DATA:
            line.receive_data(connection.recv(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
    return status
