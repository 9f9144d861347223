"""Chats of any order of roles, form of content and number of stop strings, in both lanes."""

from __future__ import annotations

import json

import pytest

from forebay.producers.gateway.openai.chat_request import Message, turns

pytestmark = pytest.mark.slow

SAY = "Hello there, forebay."
UP = {"egress": "allow", "lane": "bedrock"}


def openai_text(http, messages, **options):
    body = {"model": "auto", "messages": messages, **options}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def anthropic_message(http, messages, **options):
    body = {"model": "auto", "max_tokens": 50, "messages": messages, **options}
    answer = http.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def message(role, content):
    return {"role": role, "content": content}


CHATS = {
    "system alone": [message("system", SAY)],
    "developer alone": [message("developer", SAY)],
    "system last": [message("user", SAY), message("system", "Be brief.")],
    "assistant and system": [message("assistant", "Yes?"), message("system", SAY)],
    "an empty list": [message("user", []), message("user", SAY)],
    "an empty list beside": [message("assistant", []), message("user", SAY)],
    "parts": [
        message(
            "user",
            [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there, forebay."}],
        )
    ],
}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_in_openais_format_is_answered_in_both_lanes(http, name):
    assert openai_text(http, CHATS[name]) == SAY
    assert openai_text(http, CHATS[name], forebay=UP)


def test_turns_of_one_role_may_follow_each_other(http):
    row = [message("user", "Hello"), message("user", "there.")]
    assert openai_text(http, row) == "there."
    row.append(message("assistant", []))
    assert anthropic_message(http, row)["content"][0]["text"] == "there."


def test_an_answer_continues_the_assistants_last_message(http):
    begun = [message("user", SAY), message("assistant", "Hello there,")]
    assert anthropic_message(http, begun)["content"] == [{"type": "text", "text": " forebay."}]
    assert openai_text(http, begun) == " forebay."
    assert anthropic_message(http, begun, forebay=UP)["forebay"]["lane"] == "bedrock"


def test_a_stream_continues_the_assistants_last_message_too(anthropic_client):
    begun = [message("user", SAY), message("assistant", "Hello there,")]
    options = {"model": "auto", "max_tokens": 50, "messages": begun}
    with anthropic_client.messages.stream(**options) as stream:
        assert "".join(stream.text_stream) == " forebay."
        assert stream.get_final_message().stop_reason == "end_turn"


@pytest.mark.parametrize("forebay", [{}, UP], ids=["local", "bedrock"])
def test_an_answer_under_a_schema_continues_the_assistants_last_message(http, forebay):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "word": {"type": "string"}},
        "required": ["n", "word"],
        "additionalProperties": False,
    }
    begun = [message("user", "A number and a word."), message("assistant", "{")]
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = anthropic_message(http, begun, output_config=form, forebay=forebay)
    told = json.loads("{" + answer["content"][0]["text"])
    assert told.keys() == {"n", "word"}
    assert not answer["forebay"]["degraded"]
    assert answer["forebay"]["lane"] == ("bedrock" if forebay else "local")


def test_a_message_that_begins_nothing_of_the_schema_is_refused(http):
    begun = [message("user", "A number."), message("assistant", "Sure: ")]
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    body = {"model": "auto", "messages": begun, "response_format": form}
    error = http.post("/v1/chat/completions", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_job", "messages")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("forebay", [{}, UP], ids=["local", "bedrock"])
def test_every_one_of_many_stop_strings_ends_the_text(http, forebay, stream):
    others = [f"no such text {number}" for number in range(20)]
    first = message("user", SAY)
    whole = anthropic_message(http, [first], forebay=forebay)["content"][0]["text"]
    stop = whole[3:7]  # begins and ends inside words
    options = {"stop_sequences": [*others, stop], "forebay": forebay, "stream": stream}
    body = {"model": "auto", "max_tokens": 50, "messages": [first], **options}
    answer = http.post("/v1/messages", json=body)
    if not stream:
        ended = answer.json()
        assert ended["content"] == [{"type": "text", "text": whole[:3]}]
        assert (ended["stop_reason"], ended["stop_sequence"]) == ("stop_sequence", stop)
        return
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    texts = [each["delta"]["text"] for each in events if each["type"] == "content_block_delta"]
    assert "".join(texts) == whole[:3]
    last = next(each for each in events if each["type"] == "message_delta")
    assert last["delta"]["stop_sequence"] == stop
    assert not last["forebay"]["replaced"]


NAMED = [
    ("system", "Terse.", "guide"), ("user", "Hello.", "ann"), ("assistant", "Hi.", "bob"),
    ("user", "Bye.", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "guide: Terse.|ann: Hello.|Hi.|Bye."),
        ((("assistant", "So long", "bob"),), "guide: Terse.|ann: Hello.|Hi.|Bye.|So long"),
        (
            (("assistant", "Ciao.", "eve"), ("user", "", "ann"), ("user", "?", "ann")),
            "guide: Terse.|ann: Hello.|bob: Hi.|Bye.|eve: Ciao.|ann: ?",
        ),
    ],
)
def test_a_model_is_told_who_speaks(more, told):
    messages = [Message(role=r, content=text, name=name) for r, text, name in (*NAMED, *more)]
    assert "|".join(text for _, text in turns(messages)) == told


def test_the_name_of_who_speaks_is_told_in_both_lanes(http):
    named = [{**message("user", "Hello."), "name": "ann"}]
    assert openai_text(http, named) == "ann: Hello."
    answer = openai_text(http, named, forebay=UP)
    assert answer == openai_text(http, [message("user", "ann: Hello.")], forebay=UP)
    body = {"model": "auto", "messages": [{**named[0], "name": "ann smith"}]}
    error = http.post("/v1/chat/completions", json=body).json()["error"]
    assert error["param"] == "messages.0.name"
