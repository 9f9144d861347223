"""The engine `openai` in front of a server that sends one byte after the other, or no end."""

from __future__ import annotations

import gc
import itertools
import warnings

import pytest

from forebay.routing.errors import EngineBusy, Unavailable
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.engines.openai import client as openai_client
from forebay.workers.engines.openai.address import server_address
from forebay.workers.engines.openai.client import ServerClient
from forebay.workers.engines.openai.connection import Connection
from forebay.workers.engines.openai.generator import Formats, OpenAIGenerator
from forebay.workers.engines.openai.openai import model_of_server
from forebay.workers.engines.openai.served import Served
from forebay.workers.engines.settings import EngineSettings
from hostile_http import CHUNKED, OK, HostileHttp, chunk
from hostile_tls import HostileTls
from patience import until

WORD = chunk(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
QUIET_S = 0.3


@pytest.fixture
def server():
    with HostileHttp() as running:
        yield running


@pytest.fixture
def connection(server):
    opened = Connection(client(f"{server.url}/v1"))
    yield opened
    opened.close()


def client(url):
    return ServerClient(server_address(url, public=False), {}, 1, quiet_s=QUIET_S)


async def chunks(connection):
    return [part async for part in connection.client.chat({"max_tokens": 9})]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(OK + b"x-slow: ", id="head"),
        pytest.param(OK + CHUNKED + chunk(b"data: {") + b"fff\r\n", id="chunk"),
        pytest.param(b"HTTP/1.1 400 Bad\r\ncontent-length: 9999\r\n\r\n", id="refusal"),
    ],
)
def test_an_answer_of_one_byte_after_the_other_is_given_up(server, connection, head):
    server.pieces = server.trickle(head)
    with pytest.raises(EngineBusy, match="no part of an answer"):
        connection.ask(chunks(connection))


def test_signs_of_life_are_no_parts_of_an_answer(server, connection):
    server.pieces = server.trickle(OK + CHUNKED, chunk(b": ping\n\n"))
    with pytest.raises(EngineBusy, match="no part of an answer"):
        connection.ask(chunks(connection))


def test_an_answer_may_take_long_as_long_as_its_parts_come(server, connection):
    slow = itertools.islice(server.trickle(OK + CHUNKED, WORD)(), 10)
    server.pieces = lambda: itertools.chain(slow, [b"0\r\n\r\n"])
    assert len(connection.ask(chunks(connection))) == 9  # one each 0.05 s


def test_a_document_of_one_byte_after_the_other_is_given_up(server):
    server.pieces = server.trickle(OK + b"content-length: 9999\r\n\r\n")
    settings = EngineSettings(engine="openai", openai_url=f"{server.url}/v1", hang_s=QUIET_S)
    with pytest.raises(Unavailable, match="has not answered within"):
        model_of_server(settings)


def test_an_answer_without_an_end_is_given_up(server, connection):
    server.pieces = lambda: itertools.chain([OK + CHUNKED], itertools.repeat(WORD))
    served = Served("m", None, "r", 99, 0, logprobs=False, form=None, raw=False, patterns=False)
    generator = OpenAIGenerator(served, 1, 99, Formats(served), connection)
    turns = (Turn(role="user", content="Hello."),)
    generator.admit(Prompt(id="p", messages=turns, max_tokens=9))
    with pytest.raises(Unavailable, match="without an end"):
        until(lambda: generator.step().ended)


def test_a_handshake_of_one_byte_after_the_other_is_given_up(monkeypatch):
    monkeypatch.setattr(openai_client, "_CONNECT_S", QUIET_S / 3)
    with HostileTls() as server:
        opened = Connection(client(f"https://127.0.0.1:{server.port}/v1"))
        with pytest.raises(Unavailable):
            opened.ask(chunks(opened))
    # asyncio leaves the socket of a handshake that was given up to the garbage collector.
    opened.ask(collected())
    opened.close()


async def collected():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
