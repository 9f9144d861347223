"""ConverseStream through real boto3: the text comes in pieces, the end is read as Converse's."""

from __future__ import annotations

import pytest

from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.bedrock.converse import Converse
from forebay.workers.frontier.provider import OutcomeUnknown, billed
from forebay.workers.frontier.settings import BedrockSettings
from mock_bedrock.spoiled import SPOILED

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture
def provider(mock):
    return Converse(BedrockSettings(bedrock_endpoint=mock.url, bedrock_timeout_s=2))


def ask(provider, heard, **fields):
    turns = (Turn(role="user", content="one two three four"),)
    prompt = Prompt(id="p", messages=turns, **{"max_tokens": 50, **fields})
    return provider.call(prompt, MODEL, call_id="c1", on_text=heard.append)


def test_the_text_comes_in_pieces_that_are_the_answer(provider, mock):
    heard = []
    streamed = ask(provider, heard)
    assert len(heard) > 3
    assert "".join(heard) == streamed.text
    whole = provider.call(
        Prompt(id="p", messages=(Turn(role="user", content="one two three four"),), max_tokens=50),
        MODEL,
        call_id="c2",
    )
    assert (streamed.text, streamed.usage, streamed.finish) == (whole.text, whole.usage, "stop")
    assert (streamed.tier, streamed.stand_in) == (whole.tier, True)
    assert [call.operation for call in mock.calls] == ["converse-stream", "converse"]


def test_a_stream_that_is_cut_has_an_unknown_bill(provider, mock):
    mock.faults.plan(["half"])
    heard = []
    with pytest.raises(OutcomeUnknown) as caught:
        ask(provider, heard)
    assert billed(caught.value) == "unknown"
    assert heard
    assert ask(provider, []).text


@pytest.mark.parametrize("fault", ["usage_missing", "output_nan", "tier_unknown", "output_text"])
def test_a_stream_whose_usage_cannot_be_read_is_a_reply_without_a_usage(provider, mock, fault):
    fault = fault if fault in SPOILED else "input_text"
    mock.faults.plan([fault])
    reply = ask(provider, [])
    assert reply.text
    assert reply.usage is None or reply.tier is None


def test_a_text_that_is_cut_afterwards_is_not_passed_on(provider, mock):
    heard = []
    reply = ask(provider, heard, stop=(" ",))
    assert " " not in reply.text
    assert heard == []
    assert [call.operation for call in mock.calls] == ["converse"]
