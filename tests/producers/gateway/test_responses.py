"""Responses, asked by OpenAI's own client."""

from __future__ import annotations

import json

import openai
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

SLOW = "[[echo: delay=0.25]] one two three four"
FOREVER = "[[echo: delay=0.5]] " + "word " * 200


def create(client, given="Hello there.", **options):
    return client.responses.create(model="auto", **({"input": given} | options))


def test_an_input_is_answered(openai_client):
    response = create(openai_client, instructions="Be brief.", metadata={"ticket": "7"})
    assert response.output_text == "Hello there."
    assert (response.status, response.background) == ("completed", False)
    assert (response.instructions, response.metadata) == ("Be brief.", {"ticket": "7"})
    assert response.usage.output_tokens == 2
    assert response.forebay["lane"] == "local"
    assert openai_client.responses.retrieve(response.id).output_text == "Hello there."


def test_messages_and_earlier_outputs_are_the_input(openai_client):
    first = create(openai_client)
    items = [
        {"role": "user", "content": "Hello there."},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"role": "user", "content": [{"type": "input_text", "text": "And again."}]},
    ]
    assert create(openai_client, items).output_text == "And again."


def test_a_schema_makes_the_answer_json(openai_client):
    schema = {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": False,
    }  # fmt: skip
    form = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    assert isinstance(json.loads(create(openai_client, text=form).output_text)["n"], int)


def test_an_answer_that_was_cut_off_is_incomplete(openai_client):
    response = create(openai_client, max_output_tokens=1)
    assert (response.status, response.incomplete_details.reason) == (
        "incomplete", "max_output_tokens",
    )  # fmt: skip


def test_a_background_response_is_fetched_later(openai_client):
    response = create(
        openai_client, background=True, background_options={"completion_window": "2h"}
    )
    assert (response.status, response.background) == ("queued", True)

    def done():
        current = openai_client.responses.retrieve(response.id)
        return current if current.status == "completed" else None

    assert until(done).output_text == "Hello there."


def test_a_completion_window_is_a_bulk_job_with_a_deadline(openai_client, served):
    made = create(openai_client, background=True, background_options={"completion_window": "8h"})
    other = create(openai_client, background=True)
    with redis_py.Redis.from_url(served.url) as client:
        for response, priority in ((made, b"bulk"), (other, b"interactive")):
            record = client.hgetall(f"fb:job:acme.{response.id.removeprefix('resp_')}")
            assert record[b"priority"] == priority
            assert response.service_tier == ("flex" if priority == b"bulk" else "default")
            now = openai_client.responses.retrieve(response.id)
            assert now.created_at == int(record[b"created"]) // 1000  # the same at each look
            assert bool(record.get(b"deadline")) == (priority == b"bulk")


def test_a_response_is_cancelled_and_deleted(openai_client):
    response = create(openai_client, FOREVER, background=True)
    assert openai_client.responses.cancel(response.id).status == "cancelled"
    assert openai_client.responses.retrieve(response.id).status == "cancelled"
    openai_client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(response.id)


def test_a_job_without_an_answer_is_a_failed_response(openai_client):
    response = create(
        openai_client, FOREVER, background=True, extra_body={"forebay": {"deadline": "1s"}}
    )
    failed = until(lambda: (now := openai_client.responses.retrieve(response.id)).error and now)
    assert (failed.status, failed.error.code) == ("failed", "expired")


def test_a_stream_has_the_documented_events_in_order(openai_client):
    with openai_client.responses.stream(model="auto", input=SLOW) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.completed",
    ]  # fmt: skip
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) >= 3
    assert "".join(deltas) == final.output_text == "one two three four"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.forebay["verified"] is True


def test_a_stream_of_a_job_that_fails_says_so(openai_client):
    options = {"extra_body": {"forebay": {"deadline": "1s"}}}
    events = list(create(openai_client, FOREVER, stream=True, **options))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "expired"


def test_a_response_that_is_not_stored_is_erased_once_it_was_sent(openai_client, served):
    plain = create(openai_client, store=False)
    assert (plain.output_text, plain.store) == ("Hello there.", False)
    events = list(create(openai_client, store=False, stream=True))
    assert events[0].response.store is False
    with redis_py.Redis.from_url(served.url) as client:
        for response in (plain, events[-1].response):
            key = f"fb:job:acme.{response.id.removeprefix('resp_')}"
            until(lambda key=key: not client.exists(key))
    assert create(openai_client, instructions="Be brief.").store is True


def test_a_response_tells_what_was_asked(openai_client):
    asked = {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 9, "instructions": "Be brief."}
    for response in (
        create(openai_client, **asked),
        list(create(openai_client, stream=True, **asked))[-1].response,
    ):
        assert {name: getattr(response, name) for name in asked} == asked
        assert (response.truncation, response.text.format.type) == ("disabled", "text")


LOGPROBS = ["message.output_text.logprobs"]


def test_the_probabilities_of_tokens_are_included_if_asked_for(openai_client):
    response = create(openai_client, include=LOGPROBS, top_logprobs=2)
    tokens = response.output[0].content[0].logprobs
    assert "".join(token.token for token in tokens) == "Hello there."
    assert all(token.top_logprobs[0].logprob == token.logprob < 0 for token in tokens)
    later = openai_client.responses.retrieve(response.id)
    assert later.output[0].content[0].logprobs == tokens
    assert create(openai_client, include=[]).output[0].content[0].logprobs == []


def test_a_stream_tells_each_token_once_and_all_at_its_end(openai_client):
    with openai_client.responses.stream(model="auto", input=SLOW, include=LOGPROBS) as stream:
        events = list(stream)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    told = [token.token for event in deltas for token in event.logprobs]
    assert [token.strip() for token in told] == ["one", "two", "three", "four"]
    (done,) = (event for event in events if event.type == "response.output_text.done")
    assert [token.token for token in done.logprobs] == told
    ended = events[-1].response.output[0].content[0]
    assert [token.token for token in ended.logprobs] == told


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"store": False, "background": True}, "store"),
        ({"store": False, "extra_headers": {"idempotency-key": "unstored"}}, "store"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        (
            {
                "include": LOGPROBS,
                "tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}],
            },
            "include",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"background_options": {"completion_window": "2h"}}, "background_options"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_a_mistake_is_one_error_that_names_the_field(openai_client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        create(openai_client, **options)
    assert caught.value.param == param


@pytest.mark.parametrize("given", ["resp_" + "0" * 32, "resp_x", "other.00", "resp_../x"])
def test_an_unknown_response_is_not_found(openai_client, given):
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(given)


@pytest.mark.parametrize("ask", ["retrieve", "cancel", "delete"])
def test_a_response_that_is_not_there_is_named_as_one(openai_client, ask):
    with pytest.raises(openai.NotFoundError) as caught:
        getattr(openai_client.responses, ask)(f"resp_{0:032}")
    assert caught.value.param == "response_id"


def test_the_tokens_of_an_input_are_estimated(openai_client):
    counted = openai_client.responses.input_tokens.count(model="auto", input="Hello there, all.")
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", 4)
