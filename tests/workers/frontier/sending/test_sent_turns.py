"""A chat that ends with the assistant's message, as Converse and chat completions are sent it."""

from __future__ import annotations

import pytest

from forebay.routing.limits.prices import Prices
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn
from forebay.workers.frontier.bedrock.converse_request import bounds, converse_request, enforces
from forebay.workers.frontier.sending.sent_turns import turns_for
from forebay.workers.frontier.sending.stops import until_stop

OLD, NEW = "anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-5-5"
ASK = Turn(role="user", content="Which colour has the sky?")
BEGUN = Turn(role="assistant", content="The sky is ")


def prompt(*turns):
    return Prompt(id="p", messages=turns, max_tokens=9)


def sent(model, *turns):
    messages = converse_request(prompt(*turns), model, "c")["messages"]
    return [(each["role"], each["content"][0]["text"]) for each in messages]


def test_a_model_that_takes_a_prefill_continues_it():
    assert sent(OLD, ASK, BEGUN) == [("user", ASK.content), ("assistant", "The sky is")]


def test_another_model_is_asked_to_continue_and_its_bound_counts_the_question():
    asked = sent(NEW, ASK, BEGUN)
    assert [role for role, _ in asked] == ["user", "assistant", "user"]
    assert asked[-1][1].startswith("Continue your last message")
    more, less = (bounds(prompt(ASK, BEGUN), model)[0] for model in (NEW, OLD))
    assert more > less


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (OLD, True),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", True),
        ("anthropic.claude-opus-4-5-20251101-v1:0", True),
        ("anthropic.claude-opus-4-6-v1", False),
        (NEW, False),
        ("meta.llama3-3-70b-instruct-v1:0", False),
    ],
)
def test_claude_takes_a_prefill_before_4_6(model, takes):
    assert Prices.packaged().capabilities(model).prefill is takes


def test_a_form_is_enforced_on_a_whole_answer_alone():
    """Claude continues a message, but not under structured output; others write all once more."""
    object_ = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"constraint": JsonSchema(schema_=object_)}
    begun = prompt(ASK, Turn(role="assistant", content="{")).model_copy(update=form)
    request = converse_request(begun, OLD, "c")
    assert not enforces(request)
    assert request["messages"][-1] == {"role": "assistant", "content": [{"text": "{"}]}
    request = converse_request(begun, NEW, "c")
    assert enforces(request)
    assert "Write the whole answer" in request["messages"][-1]["content"][0]["text"]
    assert enforces(converse_request(begun.model_copy(update={"messages": (ASK,)}), OLD, "c"))


def test_what_the_caller_has_is_not_streamed_once_more():
    can, form = Prices.packaged().capabilities, {"constraint": JsonSchema(schema_={})}
    begun = prompt(ASK, BEGUN)
    assert until_stop(print, begun, can(NEW)) is print
    begun = begun.model_copy(update=form)
    assert until_stop(print, begun, can(NEW)) is None
    assert until_stop(print, begun, can(OLD)) is print


def test_a_chat_that_ends_with_the_user_stays_as_it_is():
    can = Prices.packaged().capabilities(NEW)
    assert turns_for(prompt(ASK, BEGUN, ASK), can) == (ASK, BEGUN, ASK)
