"""The turns of a chat, whoever speaks and in whatever order."""

from __future__ import annotations

import pytest

from forebay.routing.errors import InvalidJob
from forebay.routing.jobs import Generate, Message
from forebay.workers.prompts.generate import frontier_turns, local_turns

LETTERS = {"s": "system", "u": "user", "a": "assistant"}


def chat(letters, **fields):
    messages = [Message(role=LETTERS[letter], content=f"{n}") for n, letter in enumerate(letters)]
    return Generate(messages=messages, **fields)


def told(turns):
    return " ".join(turn.role[0] + turn.content for turn in turns)


@pytest.mark.parametrize(
    ("letters", "told_turns"),
    [
        ("s", "u0"),
        ("ss", "s0 u1"),
        ("sas", "s0 a1 u2"),
        ("us", "u0 s1"),
        ("suu", "s0 u1 u2"),
        ("uaau", "u0 a1 a2 u3"),
        ("uas", "u0 a1 u2"),
        ("ua", "u0 a1"),
    ],
)
def test_a_chat_has_a_turn_to_answer_or_to_continue(letters, told_turns):
    request = chat(letters)
    assert told(frontier_turns(request)) == told(local_turns(request)) == told_turns


def test_an_answer_under_a_schema_does_not_continue_a_message():
    with pytest.raises(InvalidJob, match=r"messages: must end with the user's"):
        chat("ua", schema={"type": "object"})


@pytest.mark.parametrize(
    ("prefill", "text", "answer"),
    [("The sky is", " blue. ", " blue."), ("The sky is ", " blue.", "blue."), (None, " a ", "a")],
)
def test_white_space_between_a_message_and_what_continues_it_stays(prefill, text, answer):
    begun = [Message(role="assistant", content=prefill)] if prefill else []
    request = Generate(messages=[Message(role="user", content="Say."), *begun])
    assert request.trimmed(text) == answer
    assert (request.prefill, request.asked) == (prefill, "Say.")
