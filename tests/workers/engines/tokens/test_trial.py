"""A grammar that would be compiled for ever is found out in time."""

import pytest
from tests.support.stopwatch import within

from forebay.workers.engines.engine import JsonSchema
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.trial import compiles_in_time

MANY = {"allOf": [{"type": "string", "pattern": f"(.*a.{{{n}}}b)"} for n in range(10, 30)]}


def grammar(schema):
    return grammars.grammar(grammars.body_of(JsonSchema(schema_=schema), 64))


@pytest.mark.slow
def test_patterns_that_must_all_match_take_too_long():
    with within(15, AssertionError):
        assert not compiles_in_time(grammar({"type": "object", "properties": {"a": MANY}}))


def test_an_ordinary_grammar_compiles_in_time():
    assert compiles_in_time(grammar({"type": "object", "properties": {"a": {"type": "string"}}}))


def test_a_grammar_that_is_refused_is_refused_in_time():
    assert compiles_in_time(grammar({"type": "object", "unevaluatedProperties": False}))
