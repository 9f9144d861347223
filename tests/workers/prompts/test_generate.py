"""The turns of a chat, whoever speaks and in whatever order."""

from __future__ import annotations

import pytest

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Generate, Job, Message
from forebay.workers.checks.answer_checks import check
from forebay.workers.prompts.generate import frontier_turns, local_turns
from forebay.workers.prompts.parsing import parse_answer

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


@pytest.mark.parametrize(
    ("prefill", "text", "answer"),
    [
        ("{", '"n": 1}', '"n": 1}'),
        ("{", '{"n": 1}', '"n": 1}'),
        ("{", 'Here it is:\n```json\n{"n": 1}\n```', '"n": 1}'),
        ('{"n":', " 1}\n", " 1}"),
        ('{"n":', '{"n": 1}', " 1}"),
        ('{"n":1', '{"n": 1}', "}"),
        ('{\n  "n": ', '{"n": 1}', "1\n}"),
        ('{"text": "It ', 'rains."}', 'rains."}'),
    ],
)
def test_an_answer_under_a_schema_is_what_follows_the_message(prefill, text, answer):
    job = begun_job(prefill, schema={"type": "object"})
    content = parse_answer(job, text)
    assert content.text == answer
    assert all(one.passed for one in check(job, content))


@pytest.mark.parametrize("text", ['{"m": 1}', "1}", "no JSON"])
def test_an_answer_that_does_not_follow_the_message_cannot_be_read(text):
    with pytest.raises(BadAnswer):
        parse_answer(begun_job('{"n', schema={"type": "object"}), text)


def test_the_checks_hold_the_message_and_the_answer_together():
    job = begun_job("+41 ", regex=r"\+41 \d\d")
    for text, passed in (("79", True), ("7", False), ("+41 79", False)):
        checks = check(job, parse_answer(job, text))
        assert all(one.passed for one in checks) is passed, text


def begun_job(prefill, **fields):
    messages = [Message(role="user", content="Say."), Message(role="assistant", content=prefill)]
    return Job(request=Generate(messages=messages, **fields))


@pytest.mark.parametrize(
    ("prefill", "text", "answer"),
    [("The sky is", " blue. ", " blue."), ("The sky is ", " blue.", "blue."), (None, " a ", "a")],
)
def test_white_space_between_a_message_and_what_continues_it_stays(prefill, text, answer):
    begun = [Message(role="assistant", content=prefill)] if prefill else []
    request = Generate(messages=[Message(role="user", content="Say."), *begun])
    assert request.trimmed(text) == answer
    assert (request.prefill, request.asked) == (prefill, "Say.")
