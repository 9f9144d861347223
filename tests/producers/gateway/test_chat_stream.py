"""Streams of chat completions, read by OpenAI's own client."""

from __future__ import annotations

import json
import time

import httpx2
import openai
import pytest
import redis as redis_py

from forebay.routing.store.text_stream import stream_key
from patience import until

pytestmark = pytest.mark.slow

SLOW = [{"role": "user", "content": "[[echo: delay=0.4]] one two three four five"}]


def stream(client, messages=SLOW, **options):
    return client.chat.completions.create(model="auto", messages=messages, stream=True, **options)


def texts(chunks):
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]


def test_text_comes_while_it_is_generated_and_is_verified_at_its_end(openai_client):
    begun, arrived, chunks = time.monotonic(), [], []
    for chunk in stream(openai_client, stream_options={"include_usage": True}):
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            arrived.append(time.monotonic() - begun)
    pieces = [text for text in texts(chunks) if text]
    assert "".join(pieces) == "one two three four five"
    assert len(pieces) >= 4
    assert arrived[-1] - arrived[0] > 0.4  # not all at once at the end
    assert chunks[0].choices[0].delta.role == "assistant"
    last, usage = chunks[-2], chunks[-1].usage
    assert last.choices[0].finish_reason == "stop"
    assert (last.forebay["verified"], last.forebay["replaced"]) == (True, False)
    assert last.forebay["lane"] == "local"
    assert usage.completion_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_first_text_comes_while_the_rest_is_generated(openai_client, served):
    slow = [{"role": "user", "content": "[[echo: delay=1]] first " + "word " * 200}]
    with stream(openai_client, slow) as chunks:
        job_id = chunks.response.headers["forebay-job-id"]
        first, second = next(chunks), next(chunks)
        with redis_py.Redis.from_url(served.url) as client:
            assert client.hget(f"fb:job:{job_id}", "state") == b"running"
    assert first.choices[0].delta.role == "assistant"
    assert second.choices[0].delta.content == "first"


def test_each_token_is_told_once_with_the_text_that_it_belongs_to(openai_client):
    chunks = list(stream(openai_client, logprobs=True, top_logprobs=2))
    scored = [one.choices[0] for one in chunks if one.choices and one.choices[0].logprobs]
    for choice in scored:
        text = "".join(token.token for token in choice.logprobs.content)
        assert text.strip() == choice.delta.content.strip()
        assert all(one.top_logprobs[0].token == one.token for one in choice.logprobs.content)
    tokens = [token for choice in scored for token in choice.logprobs.content]
    assert [token.token.strip() for token in tokens] == ["one", "two", "three", "four", "five"]
    assert len(scored) >= 4  # not all at once at the end
    assert not [one for one in stream(openai_client) if one.choices[0].logprobs]


def test_several_answers_stream_side_by_side_each_under_its_index(openai_client):
    options = {"n": 3, "stream_options": {"include_usage": True}}
    with stream(openai_client, **options) as told:
        chunks = list(told)
    assert len(set(told.response.headers["forebay-job-id"].split(","))) == 3
    said, ends, order = ["", "", ""], {}, []
    for choice in (one.choices[0] for one in chunks if one.choices):
        said[choice.index] += choice.delta.content or ""
        order += [choice.index] if choice.delta.content else []
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert said == ["one two three four five"] * 3
    assert ends == dict.fromkeys(range(3), "stop")
    assert order != sorted(order)  # not one after the other
    assert chunks[-1].usage.completion_tokens == 15
    assert len({one.id for one in chunks}) == 1


def test_a_client_that_goes_away_ends_all_its_jobs(served, openai_client):
    slow = [{"role": "user", "content": "[[echo: delay=0.5]] gone " + "word " * 200}]
    with redis_py.Redis.from_url(served.url) as client:

        def keys():
            return set(client.keys("fb:job:acme.*"))

        before = keys()
        stream(openai_client, slow, n=2).close()

        def states():
            return [client.hget(key, "state") for key in keys() - before]

        until(lambda: states() == [b"cancelled"] * 2, within_s=10)


def test_an_answer_that_comes_whole_has_all_its_tokens(openai_client):
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
    messages = [{"role": "user", "content": "How many?"}]
    chunks = list(stream(openai_client, messages, logprobs=True, response_format=form))
    tokens = [one.choices[0].logprobs for one in chunks if one.choices[0].logprobs]
    text = "".join(text for text in texts(chunks) if text)
    assert "".join(token.token for part in tokens for token in part.content) == text


def test_an_answer_that_no_engine_streams_comes_whole(openai_client):
    messages = [{"role": "user", "content": "I cannot find the login page."}]
    chunks = openai_client.chat.completions.create(
        model="forebay/classify", messages=messages, stream=True,
        extra_body={"forebay": {"labels": ["billing", "login"]}},
    )  # fmt: skip
    assert [text for text in texts(chunks) if text] == ["login"]


def test_an_answer_that_takes_the_place_of_what_was_sent_is_told_at_the_end(openai_client):
    said = "[[echo: say=no json at all]] [[echo: delay=0.2]] How many?"
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    chunks = list(
        stream(
            openai_client, [{"role": "user", "content": said}],
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            extra_body={"forebay": {"egress": "allow"}},
        )
    )  # fmt: skip
    assert "".join(text for text in texts(chunks) if text).startswith("no json")
    end = chunks[-1].forebay
    assert (end["lane"], end["verified"], end["replaced"]) == ("bedrock", False, True)
    assert isinstance(json.loads(end["text"])["n"], int)
    assert end["cost_usd"] > 0


def test_an_answer_of_bedrock_is_streamed_as_bedrock_sends_it(served, openai_client):
    asked = [{"role": "user", "content": "Where does the river go?"}]
    pinned = {"forebay": {"egress": "allow", "lane": "bedrock"}}
    response = stream(openai_client, asked, extra_body=pinned)
    job_id = response.response.headers["forebay-job-id"]
    chunks = list(response)
    text = "".join(piece for piece in texts(chunks) if piece)
    assert text.endswith("Where does the river go?")
    end = chunks[-1].forebay
    assert (end["lane"], end["verified"], end["replaced"]) == ("bedrock", True, False)
    with redis_py.Redis.from_url(served.url) as client:
        assert client.xlen(stream_key(job_id)) >= 1


def test_a_client_that_goes_away_ends_its_job(served, openai_client):
    slow = [{"role": "user", "content": "[[echo: delay=0.5]] " + "word " * 200}]
    response = stream(openai_client, slow)
    job_id = response.response.headers["forebay-job-id"]
    for chunk in response:
        if chunk.choices[0].delta.content:
            break
    response.close()
    with redis_py.Redis.from_url(served.url) as client:
        until(lambda: client.hget(f"fb:job:{job_id}", "state") == b"cancelled", within_s=5)


def test_a_client_that_can_ask_again_does_not_end_its_job(served, openai_client):
    slow = [{"role": "user", "content": "[[echo: delay=0.3]] one two three"}]
    headers = {"idempotency-key": "stream-once"}
    stream(openai_client, slow, extra_headers=headers).close()
    again = openai_client.chat.completions.create(
        model="auto", messages=slow, extra_headers=headers
    )
    assert again.choices[0].message.content == "one two three"


def test_a_refused_job_is_an_error_and_no_stream(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        stream(openai_client, n=9)
    assert caught.value.param == "n"
    with pytest.raises(openai.PermissionDeniedError):
        stream(openai_client, extra_body={"forebay": {"lane": "bedrock"}})


def test_a_job_that_fails_midway_is_an_error_in_the_stream(openai_client):
    deadline = {"forebay": {"deadline": "1s"}}
    slow = [{"role": "user", "content": "[[echo: delay=0.4]] " + "word " * 20}]
    with pytest.raises(openai.APIError) as caught:
        list(stream(openai_client, slow, extra_body=deadline))
    assert caught.value.code == "expired"


def test_an_abandoned_stream_of_plain_http_ends_with_done(http):
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Hello."}]}
    response = http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: ")) for event in events[:-2])


def test_the_text_in_redis_is_sealed_and_expires(served, openai_client):
    canary = [{"role": "user", "content": "[[echo: delay=0.2]] zebrafinch zebrafinch zebrafinch"}]
    chunks = list(stream(openai_client, canary))
    job_id = chunks[-1].forebay["job_id"]
    with redis_py.Redis.from_url(served.url) as client:
        key = stream_key(job_id)
        assert client.xlen(key) >= 1
        assert 0 < client.pttl(key) <= 120_000
    assert httpx2.get(f"{served.gateway_url}/metrics").text.count("zebrafinch") == 0
