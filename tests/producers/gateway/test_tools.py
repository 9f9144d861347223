"""Tools in one JSON form: the schema of what a model writes, and what its text says."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from forebay.producers.gateway.asking.chats import Chat
from forebay.producers.gateway.asking.tools import Call, Tool, chosen
from forebay.producers.gateway.batch_work.line_format import told_tools, tools_told
from forebay.producers.gateway.errors import InvalidRequest

POINT = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/point"}},
    "required": ["at"],
    "$defs": {"point": {"type": "array", "items": {"type": "number"}}},
}
WEATHER, CLOCK = Tool("weather", "Tells the weather.", POINT), Tool("clock")


def tools(choice="auto", named=None, *, parallel=True):
    return chosen([WEATHER, CLOCK], choice, named=named, parallel=parallel, field="tool_choice")


def holds(schema, data):
    return jsonschema_rs.is_valid(schema, data)


def calls(*made):
    return {"tool_calls": [{"name": name, "arguments": given} for name, given in made]}


def test_the_schema_holds_the_arguments_of_each_tool():
    schema = tools().schema(None)
    assert holds(schema, calls(("weather", {"at": [1, 2]}), ("clock", {})))
    assert holds(schema, {"answer": "It rains."})
    for wrong in (
        calls(("weather", {})),
        calls(("weather", {"at": ["x"]})),
        calls(("clock", {"at": [1]})),
        calls(("other", {})),
        {"answer": 3},
        {"tool_calls": []},
    ):
        assert not holds(schema, wrong), wrong


def test_an_answer_without_a_call_has_the_schema_of_the_request():
    schema = tools().schema(
        {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}
    )
    assert holds(schema, {"answer": [1, 2]})
    assert not holds(schema, {"answer": ["x"]})
    assert not holds(schema, {"answer": "text"})


@pytest.mark.parametrize(
    ("choice", "named", "parallel", "good", "bad"),
    [
        ("required", None, True, calls(("clock", {})), {"answer": "no"}),
        (None, "clock", True, calls(("clock", {})), calls(("weather", {"at": []}))),
        ("auto", None, False, calls(("clock", {})), calls(("clock", {}), ("clock", {}))),
    ],
)
def test_the_choice_bounds_what_a_model_may_write(choice, named, parallel, good, bad):
    schema = tools(choice, named, parallel=parallel).schema(None)
    assert holds(schema, good)
    assert not holds(schema, bad)


def test_no_tools_are_chosen_where_none_may_be_called():
    assert tools("none") is None
    assert chosen([], "auto", named=None, parallel=True, field="tool_choice") is None


@pytest.mark.parametrize(
    ("given", "choice", "named", "field"),
    [
        ([CLOCK, CLOCK], "auto", None, "tools"),
        ([CLOCK], None, "other", "tool_choice"),
        ([], "required", None, "tool_choice"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(given, choice, named, field):
    with pytest.raises(InvalidRequest) as caught:
        chosen(given, choice, named=named, parallel=True, field=field)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("choice", "text", "following", "made"),
    [
        ("auto", 'he \\"it\\" rains."}', 'he "it" rains.', []),
        ("auto", '"}', "", []),
        ("auto", 'see.", "tool_calls": [{"name": "clock", "arguments": {}}]}', "see.", ["clock"]),
        ("required", '", "tool_calls": [{"name": "clock", "arguments": {}}]}', "", ["clock"]),
    ],
)
def test_calls_may_follow_a_text_that_the_model_continues(choice, text, following, made):
    form = tools(choice).after('Let "me" ', as_json=False)
    whole = json.loads(form.begun + text)
    assert holds(form.schema(None), whole)
    reply = form.reply(text)
    assert (reply.text, [call.name for call in reply.calls]) == (following, made)
    assert whole["answer"] == f'Let "me" {following}'
    assert holds(form.schema(None), {"answer": "x"}) is (choice == "auto")


def test_the_json_of_a_schema_is_continued_as_it_is_written():
    form = tools().after('{"n":', as_json=True)
    schema = form.schema({"type": "object", "properties": {"n": {"type": "integer"}}})
    assert holds(schema, json.loads(form.begun + "1}}"))
    assert not holds(schema, json.loads(form.begun + '"x"}}'))
    assert form.reply(" 1 } }").text == " 1 }"


def test_a_text_in_the_form_says_calls_or_an_answer():
    reply = tools().reply
    assert reply(json.dumps(calls(("clock", {})))) == ("", (Call("clock", {}),))
    assert reply('{"answer": "It rains."}') == ("It rains.", ())
    assert reply('{"answer": {"a": 1}}') == ('{"a": 1}', ())
    for text in ("no JSON", "[1]", '{"tool_calls": [{"name": 1}]}'):
        assert reply(text).calls == ()


@pytest.mark.parametrize("begun", ["", "Let me "])
def test_a_line_of_a_batch_keeps_the_form_of_its_answer(begun):
    """The answer is read when the request is gone; lines of earlier releases say less."""
    turns = [("user", "Hi."), *([("assistant", begun)] if begun else [])]
    chat = Chat(messages=turns, tools=tools())
    told = json.loads(json.dumps(tools_told(chat)))
    text = 'see."}' if begun else '{"answer": "see."}'
    assert told_tools(told).reply(text) == chat.form.reply(text) == ("see.", ())
    assert told_tools({"tools": True}).reply('{"answer": "x"}').text == "x"
    assert told_tools(tools_told(Chat(messages=turns))) is None
