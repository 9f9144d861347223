"""The prompts of `decide`."""

import json

import pytest

from forebay import Choice, Decide, Job, Label, Predicate, Score
from forebay.workers.engines.engine import EngineInfo
from forebay.workers.frontier.structured_output import is_refused
from forebay.workers.prompts import prompts, rewording

INFO = EngineInfo(engine="echo", model="m", revision="r", context_tokens=4_096, slots=1)
QUESTIONS = [
    Predicate(name="late", instructions="Is it late?", yes="past its date", unsure=True),
    Choice(
        name="te:am", instructions="Which team?", choices=["a", Label(name="b", examples=["c"])]
    ),
    Score(name="hurry", instructions="How urgent?", minimum=1, maximum=3),
]


def job(state="It is late.", questions=QUESTIONS):
    return Job(request=Decide(state=state, questions=questions))


def test_a_local_model_gets_one_branch_for_each_question():
    prompt = prompts.local(job(), INFO, prompt_id="p")
    assert "It is late." in prompt.messages[-1].content
    assert prompt.constraint is None
    assert [branch.options for branch in prompt.branches] == [
        ("yes", "no", "unsure"), ("a", "b"), ("1", "2", "3"),
    ]  # fmt: skip
    late, team, _ = (branch.text for branch in prompt.branches)
    assert "Is it late?" in late
    assert "- yes: past its date" in late
    assert "- unsure: this cannot be told" in late
    assert '"c"' in team
    assert "te:am" not in team  # a name is the caller's own


def test_a_state_of_json_is_read_as_json():
    prompt = prompts.local(job({"Größe": [1, None]}), INFO, prompt_id="p")
    assert '{"Größe": [1, null]}' in prompt.messages[-1].content


def test_a_second_opinion_has_other_words_and_the_options_in_reverse():
    first = prompts.local(job(), INFO, prompt_id="p")
    second = rewording.reworded(job(), INFO, prompt_id="p")
    assert second.messages != first.messages
    for one, other in zip(first.branches, second.branches, strict=True):
        assert other.options == one.options[::-1]
        assert other.text != one.text


def test_a_frontier_model_is_asked_once_for_stated_probabilities():
    prompt = prompts.frontier(job(), prompt_id="p")
    system, user = (turn.content for turn in prompt.messages)
    assert prompt.branches == ()
    assert "q1: Is it late?" in system
    assert "q3: How urgent?" in system
    assert "It is late." in user
    assert "It is late." not in system
    schema = prompt.constraint.schema_
    assert list(schema["properties"]) == ["q1", "q2", "q3"]
    assert not is_refused(schema)


def test_braces_in_a_question_are_no_placeholders():
    asked = [Predicate(name="a", instructions="Is {questions} {0} in it?")]
    assert "{questions} {0}" in prompts.frontier(job("x", asked), prompt_id="p").messages[0].content


@pytest.mark.parametrize("options", [2, 40, 255])
def test_an_answer_has_room_for_the_probabilities(options):
    choices = [f"choice number {n} of them" for n in range(options)]
    asked = [Choice(name=str(n), instructions="Which?", choices=choices) for n in range(3)]
    prompt = prompts.frontier(job("x", asked), prompt_id="p")
    stated = {
        f"q{n + 1}": [{"option": name, "probability": 0.01} for name in choices[:12]]
        for n in range(3)
    }
    assert prompt.max_tokens > len(json.dumps(stated)) / 4
