"""Whatever comes back from a service costs bounded memory and time, and is booked as what it is."""

from __future__ import annotations

import itertools
import json
import socket
import time
import tracemalloc
from dataclasses import fields

import pytest
from botocore.eventstream import EventStreamBuffer

from forebay.routing.bedrock_batches.batch_record import BatchRecord
from forebay.routing.errors import ForebayError, Unavailable
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.bedrock import batch_bucket, bounded_client
from forebay.workers.frontier.bedrock.batch_bucket import BatchBucket
from forebay.workers.frontier.bedrock.converse import Converse
from forebay.workers.frontier.openai import chat_completions
from forebay.workers.frontier.openai.chat_completions import ChatCompletions
from forebay.workers.frontier.provider import Malformed, OutcomeUnknown, billed
from forebay.workers.frontier.responses import bounded_body
from forebay.workers.frontier.settings import BedrockSettings
from hostile_http import (
    CHUNKED,
    OK,
    HostileHttp,
    bomb,
    chunk,
    giant_frame_head,
    stream,
    whole,
)
from hostile_tls import HostileTls
from mock_bedrock.event_stream import frame

BOMB = bomb(8)  # mebibytes
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
LIMIT_S = 0.2  # of a call that gives no answer
SILENT_S = 1.0  # after which a call is given up that a busy machine can still begin
USAGE = {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}}
HTML = b"<!DOCTYPE html><html><body>Please log in.</body></html>"

START = frame("messageStart", {"role": "assistant"})
WORD = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}})
BLOCK_END = frame("contentBlockStop", {"contentBlockIndex": 0})
STOP = frame("messageStop", {"stopReason": "end_turn"})
BILL = frame("metadata", USAGE)
OTHER_BILL = frame("metadata", {"usage": {**USAGE["usage"], "outputTokens": 3}})
ANSWER = (START, WORD, BLOCK_END, STOP, BILL)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mock")
    with HostileHttp() as server:
        yield server


@pytest.fixture(params=["converse", "stream", "chat", "chat stream"])
def ask(request, server):
    """Call a model in each of the ways that there are; return the reply."""
    settings = BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=LIMIT_S / 2)
    if "chat" in request.param:
        provider = ChatCompletions(settings, "mine", Endpoint(url=f"{server.url}/v1"))
    else:
        provider = Converse(settings)
    return lambda: call(provider, [] if "stream" in request.param else None)


@pytest.fixture
def streamed(server):
    """Return what a stream of Converse gives: the reply, and the texts that were passed on."""
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=60.0))

    def answer(*frames):
        server.pieces, heard = lambda: [stream(*frames), b"0\r\n\r\n"], []
        return call(provider, heard), "".join(heard)

    return answer


def call(provider, heard):
    prompt = Prompt(id="p", messages=(Turn(role="user", content="one two"),), max_tokens=50)
    on_text = None if heard is None else heard.append
    return provider.call(prompt, MODEL, call_id="c1", on_text=on_text)


def unknown(ask, within_s=2 * SILENT_S + 2.0):
    """Return the message of a call that may be billed, and ended in time."""
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown) as caught:
        ask()
    assert billed(caught.value) == "unknown"
    assert time.monotonic() - began < within_s
    return str(caught.value)


def test_a_compressed_bomb_is_never_unpacked(server, ask):
    data = BOMB
    server.pieces = lambda: [whole(data, extra=b"content-encoding: gzip\r\n")]
    unknown(ask)  # boto3 reads its models of the service
    tracemalloc.start()
    try:
        unknown(ask)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_response_without_an_end_is_given_up_when_it_is_larger_than_any_answer(
    server, ask, monkeypatch
):
    monkeypatch.setattr(bounded_body.BoundedBody.__init__, "__defaults__", (1_000_000,))
    monkeypatch.setattr(bounded_client, "BoundedBody", _small)
    piece = chunk(b" " * 65_536)
    server.pieces = lambda: itertools.chain([OK + CHUNKED], itertools.repeat(piece))
    unknown(ask)
    assert server.sent < 30_000_000  # what the kernel holds besides


def _small(raw, limit, _most_bytes):
    return bounded_body.BoundedBody(raw, limit, 1_000_000)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(OK + b"x-slow: ", id="head"),
        pytest.param(
            OK + b"content-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n", id="body"
        ),
    ],
)
def test_a_response_of_one_byte_after_the_other_ends_in_time(server, ask, head):
    server.pieces = server.trickle(head)
    unknown(ask)


def test_a_page_in_place_of_an_answer_may_be_billed(server, ask):
    server.pieces = lambda: [whole(HTML, b"text/html")]
    unknown(ask)


def test_the_next_call_after_one_that_was_cut_works(server):
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=SILENT_S))
    server.pieces = server.trickle(OK + b"x-slow: ")
    unknown(lambda: call(provider, None))
    body = {"output": {"message": {"content": [{"text": "Hello"}]}}, "stopReason": "end_turn"}
    server.pieces = lambda: [whole(json.dumps(body | USAGE).encode())]
    assert call(provider, None).text == "Hello"


def test_half_a_stream_and_then_silence_ends_in_time(server):
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=SILENT_S))
    server.pieces, heard = server.silent(stream(START, WORD)), []
    unknown(lambda: call(provider, heard))
    assert heard == ["Hello"]


def test_an_answer_whose_stream_stays_open_is_an_answer(server):
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=60.0))
    server.pieces, began = server.silent(stream(*ANSWER)), time.monotonic()
    reply = call(provider, [])
    assert (reply.text, reply.usage.output) == ("Hello", 4)
    assert time.monotonic() - began < 5


def test_an_answer_that_breaks_off_after_its_bill_is_billed(server):
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=SILENT_S))
    server.pieces = server.silent(stream(START, WORD, BILL))
    reply = call(provider, [])
    assert (reply.text, reply.usage.output, reply.finish) == ("Hello", 4, "length")


def test_a_message_that_says_to_be_longer_than_any_is_not_waited_for(server):
    provider = Converse(BedrockSettings(bedrock_endpoint=server.url, bedrock_timeout_s=60.0))
    server.pieces = server.silent(stream(giant_frame_head(2_000_000_000)))
    assert "no stream of events" in unknown(lambda: call(provider, []))


def test_botocore_gets_whole_messages(streamed, monkeypatch):
    """It copies what it has with each piece: a message in pieces of one byte took minutes."""
    pieces, add = [], EventStreamBuffer.add_data
    monkeypatch.setattr(
        EventStreamBuffer, "add_data", lambda self, data: (pieces.append(data), add(self, data))
    )
    reply, _ = streamed(START, *(bytes([byte]) for byte in WORD), BLOCK_END, STOP, BILL)
    assert reply.text == "Hello"
    assert pieces == list(ANSWER)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((WORD, OTHER_BILL), id="more"),
        pytest.param((OTHER_BILL, OTHER_BILL), id="bills"),
        pytest.param((frame("throttlingException", {}, "exception"),), id="error"),
        pytest.param((HTML,), id="page"),
    ],
)
def test_nothing_that_follows_the_end_changes_an_answer(streamed, after):
    reply, heard = streamed(*ANSWER, *after)
    assert (reply.text, heard, reply.usage.output) == ("Hello", "Hello", 4)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((START, WORD, START, WORD, BLOCK_END, STOP, BILL), id="begun-twice"),
        pytest.param((WORD, START, BLOCK_END, STOP, BILL), id="begun-late"),
        pytest.param((START, WORD, BLOCK_END, WORD, STOP, BILL), id="after-its-block"),
        pytest.param((START, STOP, WORD, BLOCK_END, BILL), id="after-the-end"),
        pytest.param((START, WORD, STOP, STOP, BILL), id="ended-twice"),
    ],
)
def test_a_text_in_disorder_is_billed_and_no_answer(streamed, frames):
    with pytest.raises(Malformed) as caught:
        streamed(*frames)
    assert caught.value.usage.output == 4


def test_of_two_bills_that_differ_neither_is_believed(streamed):
    with pytest.raises(Malformed) as caught:
        streamed(START, WORD, BLOCK_END, BILL, OTHER_BILL, STOP)
    assert caught.value.usage is None


def test_a_bill_before_the_end_is_a_bill(streamed):
    reply, _ = streamed(START, WORD, BLOCK_END, BILL, STOP)
    assert (reply.text, reply.usage.output, reply.finish) == ("Hello", 4, "stop")


@pytest.fixture
def results(server, monkeypatch):
    """Return the lines of a batch's results, whose only file has the response of the server."""
    bucket = BatchBucket(BedrockSettings(bedrock_s3_endpoint=server.url))
    monkeypatch.setattr(bucket, "_names", lambda *_: ["a.jsonl.out"])
    empty = {field.name: "" for field in fields(BatchRecord)}
    batch = BatchRecord(**(empty | {"bucket": "b"}))
    return lambda: list(bucket.results(batch))


def test_lines_longer_than_any_result_are_left_out(server, results, monkeypatch):
    monkeypatch.setattr(batch_bucket, "MAX_LINE_BYTES", 100_000)
    file = (
        b'{"recordId": "R1"}\n' + b"x" * 1_000_000 + b'\n\n{"recordId": "R2"}\n{"recordId": "R3"}'
    )
    server.pieces = lambda: [whole(file)]
    assert results() == [b'{"recordId": "R%d"}' % n for n in (1, 2, 3)]


def test_a_compressed_file_of_results_stays_as_it_is(server, results):
    data = BOMB
    server.pieces = lambda: [whole(data, extra=b"content-encoding: gzip\r\n")]
    assert sum(map(len, results())) <= len(data)


def test_a_file_of_results_that_never_ends_is_given_up(server, results, monkeypatch):
    monkeypatch.setattr(batch_bucket, "MAX_RESPONSE_S", LIMIT_S)
    server.pieces = server.trickle(OK + b"content-length: 99999\r\n\r\n")
    with pytest.raises(ForebayError) as caught:
        results()
    assert isinstance(caught.value, Unavailable)


@pytest.mark.parametrize("service", ["bedrock", "chat"])
def test_a_service_that_reads_nothing_of_a_request_is_given_up(server, monkeypatch, service):
    for module in (bounded_client, chat_completions):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 600)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        provider = provider_of(service, url, BedrockSettings(bedrock_timeout_s=SILENT_S))
        turns = (Turn(role="user", content="word " * 3_000_000),)  # more than the kernel holds
        prompt = Prompt(id="p", messages=turns, max_tokens=50)
        with pytest.raises(OutcomeUnknown):
            provider.call(prompt, MODEL, call_id="c1")


@pytest.mark.parametrize("service", ["bedrock", "chat"])
def test_a_handshake_of_one_byte_after_the_other_ends_in_time(server, monkeypatch, service):
    for module in (bounded_client, chat_completions):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", SILENT_S)
    with HostileTls() as slow:
        url = f"https://127.0.0.1:{slow.port}"
        provider = provider_of(service, url, BedrockSettings(bedrock_timeout_s=60.0))
        with pytest.raises(OutcomeUnknown):
            call(provider, None)
        assert slow.met


def provider_of(service, url, settings):
    if service == "chat":
        return ChatCompletions(settings, "mine", Endpoint(url=f"{url}/v1"))
    return Converse(settings.model_copy(update={"bedrock_endpoint": url}))
