"""The echo engine: what it answers, and which directives it obeys."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.routing.errors import EngineDied, InvalidJob
from forebay.workers.engines.batching.echo import EchoEngine
from forebay.workers.engines.batching.schema_instances import minimal_instance
from forebay.workers.engines.engine import Choice, JsonSchema, Prompt, Turn
from forebay.workers.engines.settings import EngineSettings
from patience import slowdown


@pytest.fixture
def engine():
    engine = EchoEngine(EngineSettings(engine="echo"))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def shared_engine():
    engine = EchoEngine(EngineSettings(engine="echo"))
    yield engine
    engine.close()


def ask(engine, text, **changes):
    turns = (Turn(role="system", content="Be brief."), Turn(role="user", content=text))
    return engine.submit(Prompt(id="a", messages=turns, **{"max_tokens": 100, **changes})).result(5)


def test_the_answer_is_the_last_user_message_without_its_directives(engine):
    answer = ask(engine, "one  two [[echo: confidence=0.5]]\nthree")
    assert answer.text.split() == ["one", "two", "three"]
    assert (answer.tokens_in, answer.tokens_out) == (7, 3)
    assert answer.low_logprob == pytest.approx(-0.693, abs=1e-3)


def test_the_directive_say_wins_over_a_constraint(engine):
    wrong = ask(engine, "x [[echo: say=neither]]", constraint=Choice(options=("a", "b")))
    assert wrong.text == "neither"


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("cat or dog? Text: My DOG barks.\n\nLabels:\n- cat\n- dog\n\nLabel:", "dog"),
        ("Text:\nA fish.\n\nLabels:\n- dog\n- cat", "cat"),
        ("My cat and my dog.", "cat"),
        ("A dog? Text: nothing", "cat"),
    ],
)
def test_the_first_option_that_occurs_in_the_text_is_chosen(engine, text, option):
    assert ask(engine, text, constraint=Choice(options=("cat", "dog"))).text == option


def test_the_directive_delay_slows_each_word(engine):
    began = time.monotonic()
    ask(engine, "[[echo: delay=0.1]] one two three")
    assert 0.3 <= time.monotonic() - began < slowdown()


def test_a_failed_step_is_the_end_of_the_engine(engine):
    with pytest.raises(EngineDied):
        ask(engine, "[[echo: fail]]")


@pytest.mark.parametrize("text", ["[[echo: explode]]", "[[echo: delay=soon]]"])
def test_an_unknown_or_malformed_directive_is_refused(engine, text):
    with pytest.raises(InvalidJob) as caught:
        ask(engine, text)
    assert caught.value.field == "messages"


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1}),
        ({"type": "array", "items": {"enum": ["x"]}, "minItems": 2}, ["x", "x"]),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"$defs": {"a/b": {"type": "string"}}, "$ref": "#/$defs/a~1b"}, ""),
    ],
)
def test_the_smallest_instance_of_a_schema_is_returned(schema, instance):
    assert minimal_instance(schema) == instance


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
        {"allOf": [{"type": "integer"}, {"type": "string"}]},
    ],
)
def test_a_schema_without_a_simple_instance_is_refused(schema):
    with pytest.raises(InvalidJob) as caught:
        minimal_instance(schema)
    assert caught.value.field == "schema"


@given(st.text(max_size=30), st.integers(1, 5))
def test_the_words_of_an_answer_join_to_the_text(shared_engine, text, limit):
    request = Prompt(id="a", messages=(Turn(role="user", content=text),), max_tokens=limit)
    answer = shared_engine.submit(request).result(5)
    assert text.strip().startswith(answer.text.strip())
    assert answer.tokens_out <= limit


def test_an_answer_to_a_schema_is_json(engine):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert json.loads(ask(engine, "x", constraint=JsonSchema(schema_=schema)).text) == {"n": 0}


def test_the_directive_warm_holds_above_temperature_zero(engine):
    text = "[[echo: say=cold]] [[echo: warm=hot]]"
    assert ask(engine, text).text == "cold"
    assert ask(engine, text, temperature=0.7).text == "hot"
