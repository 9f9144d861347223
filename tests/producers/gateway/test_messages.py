"""Messages, asked by Anthropic's own client."""

from __future__ import annotations

import json

import anthropic
import pytest
import redis as redis_py

from forebay.routing.jobs import owner
from patience import until

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello there, forebay."}]
SLOW = [{"role": "user", "content": "[[echo: delay=0.25]] one two three four"}]


def create(client, messages=HELLO, model="auto", **options):
    return client.messages.create(
        **({"model": model, "max_tokens": 99, "messages": messages} | options)
    )


def test_a_chat_is_answered(anthropic_client):
    message = create(anthropic_client, system="Be brief.")
    assert [block.text for block in message.content] == ["Hello there, forebay."]
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 3)
    assert message.forebay["lane"] == "local"
    assert owner(message.forebay["job_id"]) == "acme"
    assert message._request_id.startswith("req_")


def test_blocks_of_text_are_one_text(anthropic_client):
    block = {"type": "text", "text": "Hello.", "cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Second."},
        {"role": "user", "content": [block]},
    ]
    assert create(anthropic_client, messages, system=[block]).content[0].text == "Hello."


def test_stop_sequences_and_max_tokens_end_the_text(anthropic_client):
    stopped = create(anthropic_client, stop_sequences=["forebay", "there"])
    assert stopped.content[0].text == "Hello"
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "there")
    other = create(anthropic_client, stop_sequences=["elsewhere"])
    assert (other.stop_reason, other.stop_sequence) == ("end_turn", None)
    cut = create(anthropic_client, max_tokens=1)
    assert (cut.content[0].text, cut.stop_reason) == ("Hello", "max_tokens")


def test_a_schema_makes_the_answer_json(anthropic_client):
    schema = {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": False,
    }  # fmt: skip
    config = {"format": {"type": "json_schema", "schema": schema}}
    message = create(anthropic_client, output_config=config)
    assert isinstance(json.loads(message.content[0].text)["n"], int)


def test_our_own_fields_are_in_the_body_or_in_headers(anthropic_client):
    messages = [{"role": "user", "content": "I cannot find the login page."}]
    labels = {"forebay": {"labels": ["billing", "login"], "egress": "allow"}}
    message = create(anthropic_client, messages, "forebay/classify", extra_body=labels)
    assert message.content[0].text == "login"
    assert (message.forebay["kind"], message.forebay["egress"]) == ("classify", "allow")


def test_tokens_are_estimated_without_an_answer(anthropic_client, served):
    with redis_py.Redis.from_url(served.url) as client:
        before = client.dbsize()
        counted = anthropic_client.messages.count_tokens(
            model="auto", messages=HELLO, system="Be brief.",
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
        )  # fmt: skip
        assert client.dbsize() <= before + 2  # the use of the key at most
    plain = anthropic_client.messages.count_tokens(model="auto", messages=HELLO)
    assert 1 <= plain.input_tokens < counted.input_tokens
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.count_tokens(model="none", messages=HELLO)


def test_a_stream_has_the_documented_events(anthropic_client):
    with anthropic_client.messages.stream(model="auto", max_tokens=99, messages=SLOW) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    assert final.content[0].text == "one two three four"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 4)
    raw = [kind for kind in events if kind != "text"]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_the_end_of_a_stream_says_where_the_answer_comes_from(anthropic_client):
    events = list(create(anthropic_client, stream=True))
    (end,) = [event for event in events if event.type == "message_delta"]
    assert end.forebay["verified"] is True
    assert end.forebay["lane"] == "local"


def test_text_comes_while_it_is_generated_and_a_client_that_goes_away_ends_its_job(
    served, anthropic_client
):
    slow = [{"role": "user", "content": "[[echo: delay=0.5]] " + "word " * 200}]
    response = create(anthropic_client, slow, stream=True, max_tokens=300)
    job_id = response.response.headers["forebay-job-id"]
    next(event for event in response if event.type == "content_block_delta")
    with redis_py.Redis.from_url(served.url) as client:
        assert client.hget(f"fb:job:{job_id}", "state") == b"running"
        response.close()
        until(lambda: client.hget(f"fb:job:{job_id}", "state") == b"cancelled")


def test_a_stream_of_a_job_that_fails_ends_with_its_error(anthropic_client):
    options = {"extra_body": {"forebay": {"deadline": "1s"}}}
    slow = [{"role": "user", "content": "[[echo: delay=0.4]] " + "word " * 20}]
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(create(anthropic_client, slow, stream=True, **options))
    assert caught.value.body["error"]["code"] == "expired"


@pytest.mark.parametrize(
    ("options", "kind", "field"),
    [
        ({"model": "claude-nine"}, "not_found_error", "model"),
        ({"model": "bedrock"}, "permission_error", "egress"),
        ({"tools": [{"name": "f"}]}, "invalid_request_error", "tools.0.input_schema"),
        ({"tools": [{"type": "bash_1", "name": "bash"}]}, "invalid_request_error", "tools.0"),
        ({"extra_body": {"top_k": 5}}, "invalid_request_error", "top_k"),
        ({"thinking": {"type": "enabled"}}, "invalid_request_error", "thinking"),
        ({"extra_body": {"max_tokens": 99_999}}, "invalid_request_error", "max_tokens"),
        ({"extra_body": {"temperature": 9}}, "invalid_request_error", "temperature"),
        ({"stop_sequences": [""]}, "invalid_request_error", "stop_sequences.0"),
        ({"system": [{"type": "image"}]}, "invalid_request_error", "system"),
        ({"inference_geo": "us"}, "invalid_request_error", "inference_geo"),
        (
            {"tools": [{"name": "f", "input_schema": {}, "input_examples": [{"a": 1}]}]},
            "invalid_request_error",
            "tools.0.input_examples",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_error_that_names_the_field(anthropic_client, options, kind, field):
    with pytest.raises(anthropic.APIStatusError) as caught:
        create(anthropic_client, **options)
    error = caught.value.body["error"]
    assert (error["type"], error["field"]) == (kind, field)


def test_without_a_key_the_client_raises_its_own_error(served):
    client = anthropic.Anthropic(base_url=served.gateway_url, api_key="none", max_retries=0)
    with client, pytest.raises(anthropic.AuthenticationError):
        create(client)


def test_the_models_are_listed(anthropic_client):
    models = {model.id: model for model in anthropic_client.models.list()}
    assert {"auto", "forebay/classify"} <= set(models)
    assert models["auto"].display_name == "auto"
    names = list(models)
    assert [model.id for model in anthropic_client.models.list(limit=3)] == names
    first = anthropic_client.models.list(limit=2)
    assert ([model.id for model in first.data], first.has_more) == (names[:2], True)
    before = anthropic_client.models.list(before_id=names[3], limit=2)
    assert ([model.id for model in before.data], before.has_more) == (names[1:3], True)
    for query, field in (({"limit": 0}, "limit"), ({"after_id": "x"}, "after_id"),
                         ({"before_id": "x"}, "before_id")):  # fmt: skip
        with pytest.raises(anthropic.BadRequestError) as refused:
            anthropic_client.models.list(**query)
        assert refused.value.body["error"]["field"] == field
    assert anthropic_client.models.retrieve("local").id == "local"
    with pytest.raises(anthropic.NotFoundError) as caught:
        anthropic_client.models.retrieve("claude-nine")
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_what_was_said_comes_back_as_the_client_has_it(anthropic_client):
    """With all fields, those that are null too, thoughts, and a result in which nothing is said."""
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
    called = create(anthropic_client, tools=[tool], tool_choice={"type": "any"})
    thoughts = [
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    said = [*thoughts, *(block.model_dump() | {"later": None} for block in called.content)]
    for given in ("", [], None):
        result = {"type": "tool_result", "tool_use_id": called.content[0].id, "content": given}
        messages = [
            {"role": "user", "content": "one"}, {"role": "assistant", "content": said},
            {"role": "user", "content": [result]}, {"role": "assistant", "content": thoughts},
            {"role": "user", "content": "two"},
        ]  # fmt: skip
        assert create(anthropic_client, messages=messages).content[0].text == "two"
