"""Calls of tools, asked by the unmodified clients of OpenAI and Anthropic."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
CHAT_TOOLS = [{"type": "function", "function": WEATHER}]
RESPONSE_TOOLS = [{"type": "function", "strict": True, **WEATHER}]
ANTHROPIC_TOOLS = [{"name": "weather", "input_schema": SCHEMA}]
ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
RAIN = [{"role": "user", "content": '[[echo: say={"answer": "It rains."} ]]'}]

OSLO = {"city": "Oslo", "unit": "C"}
SAID = (
    '\\" it up.", "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo", "unit": "C"}}]}'
)


def fits(arguments):
    return arguments.keys() == {"city", "unit"} and arguments["unit"] in {"C", "F"}


def chat(client, messages=ASK, **options):
    return client.chat.completions.create(
        model="auto", messages=messages, tools=CHAT_TOOLS, **options
    )


def test_a_chat_calls_a_tool_whose_arguments_fit_its_schema(openai_client):
    (choice,) = chat(openai_client, tool_choice="required").choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    assert fits(json.loads(call.function.arguments))


def test_a_chat_with_tools_may_answer_itself(openai_client):
    (choice,) = chat(openai_client, RAIN).choices
    assert (choice.finish_reason, choice.message.content) == ("stop", "It rains.")
    assert choice.message.tool_calls is None
    (choice,) = chat(openai_client, tool_choice="none").choices
    assert choice.message.content == ASK[0]["content"]


def test_results_of_tools_go_back_into_the_chat(openai_client):
    first = chat(openai_client, tool_choice="required").choices[0].message
    messages = [
        *ASK,
        first,
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": RAIN[0]["content"]},
    ]
    (choice,) = chat(openai_client, messages).choices
    assert choice.message.content == "It rains."


def test_calls_that_break_the_schema_of_the_tool_are_no_answer(openai_client):
    wrong = '[[echo: say={"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"} } ] } ]]'
    with pytest.raises(openai.APIStatusError) as caught:
        chat(openai_client, [{"role": "user", "content": wrong}])
    assert caught.value.code == "bad_answer"


def test_a_stream_tells_calls_and_text(openai_client):
    made = {}
    for chunk in chat(openai_client, tool_choice="required", stream=True):
        for call in chunk.choices[0].delta.tool_calls or ():
            made[call.index] = (call.id, call.function.name, call.function.arguments)
        finish = chunk.choices[0].finish_reason
    assert finish == "tool_calls"
    assert fits(json.loads(made[0][2]))
    text = "".join(
        chunk.choices[0].delta.content or "" for chunk in chat(openai_client, RAIN, stream=True)
    )
    assert text == "It rains."


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [CHAT_TOOLS[0], CHAT_TOOLS[0]]}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, "tool_choice"),
        ({"messages": [*ASK, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
         "messages.1.tool_call_id"),
        ({"model": "forebay/summarize"}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_field(openai_client, options, param):
    given = {"model": "auto", "messages": ASK, "tools": CHAT_TOOLS, **options}
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**given)
    assert caught.value.param == param, caught.value


def test_a_response_calls_a_tool_and_takes_its_result(openai_client):
    def respond(given, **options):
        return openai_client.responses.create(
            model="auto", input=given, tools=RESPONSE_TOOLS, **options
        )

    response = respond("What is the weather in Oslo?", tool_choice="required")
    (call,) = response.output
    assert (call.type, call.name, response.status) == ("function_call", "weather", "completed")
    assert fits(json.loads(call.arguments))
    assert openai_client.responses.retrieve(response.id).output == response.output
    result = {"type": "function_call_output", "call_id": call.call_id}
    after = respond([*ASK, call, {**result, "output": RAIN[0]["content"]}])
    assert after.output_text == "It rains."


def test_a_response_streams_its_calls(openai_client):
    with openai_client.responses.stream(
        model="auto", input="Oslo?", tools=RESPONSE_TOOLS, tool_choice="required"
    ) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.done" in types
    assert fits(json.loads(final.output[0].arguments))


def message(client, messages=ASK, **options):
    return client.messages.create(
        model="auto", max_tokens=100, messages=messages, tools=ANTHROPIC_TOOLS, **options
    )


def test_a_message_uses_a_tool_and_takes_its_result(anthropic_client):
    made = message(anthropic_client, tool_choice={"type": "any"})
    (use,) = made.content
    assert (made.stop_reason, use.type, use.name) == ("tool_use", "tool_use", "weather")
    assert fits(use.input)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": RAIN[0]["content"]}
    messages = [*ASK, {"role": "assistant", "content": made.content}]
    after = message(anthropic_client, [*messages, {"role": "user", "content": [result]}])
    assert (after.stop_reason, after.content[0].text) == ("end_turn", "It rains.")
    with pytest.raises(anthropic.BadRequestError, match="tool_use_id"):
        message(anthropic_client, [*ASK, {"role": "user", "content": [result]}])


def test_a_message_streams_its_tool_use(anthropic_client):
    choice = {"type": "tool", "name": "weather"}
    with anthropic_client.messages.stream(
        model="auto", max_tokens=100, messages=ASK, tools=ANTHROPIC_TOOLS, tool_choice=choice
    ) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.content[0].name) == ("tool_use", "weather")
    assert fits(final.content[0].input)


BEGUN = [*ASK, {"role": "assistant", "content": 'Let me "look'}]
SEE = [{**ASK[0], "content": f"[[echo: say={SAID} ]]"}, BEGUN[1]]


@pytest.mark.parametrize("stream", [False, True])
def test_text_and_calls_follow_a_message_that_is_continued(openai_client, anthropic_client, stream):
    (choice,) = chat(openai_client, SEE).choices
    assert (choice.message.content, choice.finish_reason) == ('" it up.', "tool_calls")
    assert choice.message.tool_calls[0].function.name == "weather"
    options = {"model": "auto", "max_tokens": 99, "messages": SEE, "tools": ANTHROPIC_TOOLS}
    if stream:
        with anthropic_client.messages.stream(**options) as events:
            answer = events.get_final_message()
    else:
        answer = anthropic_client.messages.create(**options)
    text, call = answer.content
    assert (text.text, call.input, answer.stop_reason) == ('" it up.', OSLO, "tool_use")


def test_a_response_tells_text_and_calls_and_is_taken_up_again(openai_client):
    options = {"model": "auto", "tools": RESPONSE_TOOLS}
    with openai_client.responses.stream(input=SEE, **options) as events:
        response = list(events)[-1].response
    said, call = response.output
    assert (said.content[0].text, json.loads(call.arguments)) == ('" it up.', OSLO)
    stored = openai_client.responses.retrieve(response.id).output
    assert (stored[0].content[0].text, stored[1].call_id) == ('" it up.', call.call_id)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    after = openai_client.responses.create(
        input=[result, *RAIN], previous_response_id=response.id, **options
    )
    assert after.output_text == "It rains."


def test_tools_do_not_keep_an_answer_from_continuing_a_message(openai_client):
    (choice,) = chat(openai_client, BEGUN).choices
    assert (choice.message.content, choice.message.tool_calls) == ("", None)


@pytest.mark.parametrize("calls", ["chat", "message", "response"])
def test_a_chat_that_ends_with_a_call_is_refused(http, calls):
    made = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    used = {"type": "tool_use", "id": "c", "name": "weather", "input": {}}
    item = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    path, body, field = {
        "chat": (
            "/v1/chat/completions",
            {"messages": [*ASK, {"role": "assistant", "tool_calls": [made]}]},
            "messages.1.tool_calls",
        ),
        "message": (
            "/v1/messages",
            {"messages": [*ASK, {"role": "assistant", "content": [used]}], "max_tokens": 9},
            "messages.1.content",
        ),
        "response": ("/v1/responses", {"input": [*ASK, item]}, "input.1"),
    }[calls]
    answer = http.post(path, json={"model": "auto", **body})
    assert answer.status_code == 400
    assert f"{field}: must be followed by the results" in answer.json()["error"]["message"]
