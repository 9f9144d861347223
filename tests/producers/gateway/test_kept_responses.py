"""What a response still tells once it was made: what was asked, and its events again."""

from __future__ import annotations

import openai
import pytest
import redis as redis_py

from patience import until

pytestmark = pytest.mark.slow

SLOW = "[[echo: delay=0.15]] one two three four five six"
TOOL = {
    "type": "function", "name": "weather", "strict": None,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}  # fmt: skip
CALLED = [
    {"role": "user", "content": "What is the weather?"},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Bern"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "Rain."},
    {"role": "assistant", "content": "It rains."},
    {"role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
]


def create(client, given="Hello there.", **options):
    return client.responses.create(model="auto", **({"input": given} | options))


def test_a_response_that_is_fetched_tells_what_was_asked(openai_client):
    asked = {
        "metadata": {"ticket": "7"}, "instructions": "Be brief.", "temperature": 0.5,
        "max_output_tokens": 9,
    }  # fmt: skip
    for options in ({}, {"background": True}):
        made = create(openai_client, **asked, **options)
        found = openai_client.responses.retrieve(made.id)
        assert {name: getattr(found, name) for name in asked} == asked
        assert found.background is bool(options)


def test_the_items_of_an_input_are_listed_page_by_page(openai_client):
    response = create(openai_client, CALLED)
    items = list(openai_client.responses.input_items.list(response.id, order="asc", limit=2))
    assert [item.type for item in items] == [
        "message", "function_call", "function_call_output", "message", "message",
    ]  # fmt: skip
    assert items[0].content[0].text == "What is the weather?"
    assert (items[1].arguments, items[2].output) == ('{"city": "Bern"}', "Rain.")
    assert (items[3].content[0].type, items[4].content[0].text) == ("output_text", "And now?")
    newest = openai_client.responses.input_items.list(response.id).data
    assert [item.id for item in newest] == [item.id for item in reversed(items)]
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.responses.input_items.list(response.id, after="msg_x")
    assert caught.value.param == "after"


def test_what_was_asked_is_sealed_counted_and_forgotten_with_its_job(openai_client, served):
    with redis_py.Redis.from_url(served.url) as client:
        response = create(openai_client, "A secret of Hello.")
        key = f"fb:asked:acme.{response.id.removeprefix('resp_')}"
        assert b"secret" not in client.get(key)
        job = client.hgetall(key.replace("asked", "job"))
        assert int(job[b"asked"]) == client.strlen(key)
        assert int(job[b"bytes"]) >= client.strlen(key)
        left = client.pttl(key.replace("asked", "job"))
        assert left - 1_000 < client.pttl(key) <= left + 1_000
        openai_client.responses.delete(response.id)
        assert not client.exists(key)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.input_items.list(response.id)


def test_a_stream_in_the_background_goes_on_where_its_listener_left(openai_client):
    stream = create(openai_client, SLOW, background=True, stream=True)
    heard = []
    for event in stream:
        heard.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()  # the job goes on
    response_id = heard[0].response.id
    rest = list(
        openai_client.responses.retrieve(
            response_id, stream=True, starting_after=heard[-1].sequence_number
        )
    )
    events = [*heard, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) >= 3
    assert "".join(deltas) == "one two three four five six"
    assert events[-1].type == "response.completed"
    assert events[-1].response.background is True
    again = list(openai_client.responses.retrieve(response_id, stream=True))
    kinds = [(event.type, event.sequence_number) for event in events]
    assert [(event.type, event.sequence_number) for event in again] == kinds
    last = events[-1].sequence_number
    assert list(openai_client.responses.retrieve(
        response_id, stream=True, starting_after=last)) == []  # fmt: skip


def test_once_the_pieces_are_gone_a_listener_still_gets_the_whole_answer(openai_client, served):
    events = list(create(openai_client, SLOW, background=True, stream=True))
    response = events[0].response
    with redis_py.Redis.from_url(served.url) as client:
        client.delete(f"fb:stream:acme:acme.{response.id.removeprefix('resp_')}")
    after = events[-2].sequence_number
    (last,) = openai_client.responses.retrieve(response.id, stream=True, starting_after=after)
    assert (last.type, last.sequence_number) == ("response.completed", after + 1)
    assert last.response.output_text == "one two three four five six"


def test_tools_in_the_background_are_called_streamed_or_not(openai_client):
    options = {"background": True, "tools": [TOOL], "tool_choice": "required"}
    made = create(openai_client, **options)

    def done():
        current = openai_client.responses.retrieve(made.id)
        return current if current.status == "completed" else None

    found = until(done)
    assert (found.output[0].type, found.output[0].name) == ("function_call", "weather")
    assert found.tools[0].name == "weather"
    events = list(create(openai_client, **options, stream=True))
    assert "response.function_call_arguments.done" in [event.type for event in events]
    assert events[-1].response.output[0].name == "weather"
    plain = create(openai_client, tools=[TOOL], background=True)
    until(lambda: openai_client.responses.retrieve(plain.id).status == "completed")
    assert '"answer"' not in openai_client.responses.retrieve(plain.id).output_text


def test_a_background_stream_of_a_job_that_fails_says_so(openai_client):
    slow = "[[echo: delay=0.5]] " + "word " * 200
    options = {"extra_body": {"forebay": {"deadline": "1s"}}}
    events = list(create(openai_client, slow, background=True, stream=True, **options))
    assert (events[-1].type, events[-1].response.error.code) == ("response.failed", "expired")
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.get(f"/responses/{events[0].response.id}?starting_after=1", cast_to=object)
    assert caught.value.param == "starting_after"
