"""Whatever JSON stands at any place of a request, it is valid or an error of validation."""

from __future__ import annotations

import copy
import json

import pytest
from pydantic import ValidationError

from forebay.producers.gateway.anthropic.messages_request import CountRequest, MessagesRequest
from forebay.producers.gateway.errors import InvalidRequest
from forebay.producers.gateway.openai.chat_request import ChatRequest
from forebay.producers.gateway.openai.responses.request import ResponsesRequest
from forebay.producers.gateway.wire import read

ODD = (None, {}, [], [[]], [{}], {"a": []}, True, 1, -1.5, "", "x", "\ud800")
SCHEMA = {"type": "object"}
JSON_SCHEMA = {"type": "json_schema", "name": "n", "schema": SCHEMA}
#: What the caller names himself.
OWN = {"metadata", "input_schema", "parameters", "schema"}
TEXT = [{"type": "text", "text": "x"}]
MESSAGES = {
    "model": "auto", "max_tokens": 5, "stop_sequences": ["a"], "metadata": {"user_id": "u"},
    "system": TEXT,
    "messages": [
        {"role": "user", "content": TEXT},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "a", "content": TEXT}],
        },
    ],
    "tools": [{"name": "t", "input_schema": SCHEMA, "type": "custom"}],
    "tool_choice": {"type": "tool", "name": "t"},
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}  # fmt: skip
CALL = {"id": "a", "type": "function", "function": {"name": "t", "arguments": "{}"}}
CHAT = {
    "model": "auto", "stop": ["a"], "metadata": {"a": "b"}, "n": 1, "stream": False,
    "messages": [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "t", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "t"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
}  # fmt: skip
RESPONSES = {
    "model": "auto", "instructions": "s", "metadata": {"a": "b"},
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "function_call", "call_id": "a", "name": "t", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "x"},
    ],
    "tools": [{"type": "function", "name": "t", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "t"},
    "text": {"format": JSON_SCHEMA},
}  # fmt: skip


def places(value, path=()):
    """Yield the path of each value inside a body, and of the body."""
    yield path
    inside = enumerate(value) if isinstance(value, list) else ()
    for key, each in value.items() if isinstance(value, dict) else inside:
        yield from places(each, (*path, key))


def replaced(body, path, value):
    """Return a copy of a body with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(body)
    within = changed
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("request_class", "body"),
    [
        (MessagesRequest, MESSAGES), (CountRequest, MESSAGES), (ChatRequest, CHAT),
        (ResponsesRequest, RESPONSES),
    ],
)  # fmt: skip
def test_an_odd_value_at_any_place_is_at_most_an_error_of_validation(request_class, body):
    broken = []
    for path in places(body):
        for odd in ODD:
            try:
                request_class.model_validate(replaced(body, path, odd))
            except ValidationError:
                pass
            except Exception as error:  # noqa: BLE001 - each of them is a 500
                broken.append((path, odd, type(error).__name__))
    assert broken == []


@pytest.mark.parametrize(
    ("request_class", "body"),
    [(MessagesRequest, MESSAGES), (ChatRequest, CHAT), (ResponsesRequest, RESPONSES)],
)
def test_an_unknown_field_is_ignored_if_it_is_null_and_else_named_by_its_place(request_class, body):
    body = json.loads(json.dumps(body))  # no two places share a value
    plain, refused = read(request_class, json.dumps(body).encode()), 0
    for path in places(body):
        within = body
        for key in path:
            within = within[key]
        arguments = path[-1:] == ("input",)  # of a call: the tool names them
        if not isinstance(within, dict) or OWN & set(path) or arguments:
            continue
        null, given = (
            json.dumps(replaced(body, path, {**within, "later": value})).encode()
            for value in (None, 1)
        )
        assert read(request_class, null) == plain, path
        try:
            read(request_class, given)
        except InvalidRequest as error:
            assert error.field == ".".join(map(str, (*path, "later")))  # noqa: PT017 - parts of texts are taken
            refused += 1
    assert refused >= 5


@pytest.mark.parametrize("name", ["stop", "model", "messages"])
def test_a_body_with_a_name_twice_is_refused_and_names_it(name):
    """What was checked before the gateway may be the other of the two values."""
    whole = json.dumps(CHAT)
    twice = f"{whole[:-1]}, {json.dumps(name)}: {json.dumps(CHAT[name])}}}"
    with pytest.raises(InvalidRequest, match="occurs twice") as caught:
        read(ChatRequest, twice.encode())
    assert caught.value.field == name
    nested = whole.replace('"type": "object"', '"type": "object", "type": "string"')
    with pytest.raises(InvalidRequest, match="occurs twice"):
        read(ChatRequest, nested.encode())


@pytest.mark.parametrize(
    ("request_class", "body"),
    [(MessagesRequest, MESSAGES), (ChatRequest, CHAT), (ResponsesRequest, RESPONSES)],
)
def test_our_own_field_beside_the_others_is_told_where_it_belongs(request_class, body):
    with pytest.raises(InvalidRequest) as refused:
        read(request_class, json.dumps(body | {"egress": "allow"}).encode())
    assert refused.value.field == "egress"
    assert 'field of the object `forebay`: {"forebay": {"egress": ...}}' in str(refused.value)
    with pytest.raises(InvalidRequest, match="is not a field that Forebay knows"):
        read(request_class, json.dumps(body | {"egres": "allow"}).encode())
