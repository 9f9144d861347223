"""Relaxed constraints admit more than the originals, and grammars can enforce them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, JsonSchema, Pattern
from forebay.workers.engines.tokens import grammars
from forebay.workers.engines.tokens.patterns import relaxed_pattern, unenforced_in_pattern
from forebay.workers.engines.tokens.relaxation import (
    relaxed,
    shape,
    unenforced,
)

DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
#: What a grammar cannot enforce, and the keyword that is named.
KEYWORDS = {
    "uniqueItems": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    "format": {"type": "string", "format": "binary"},
    "if": {"type": "object", "properties": {"a": {}}, "if": {"required": ["a"]}, "then": {}},
    "not": {"type": "integer", "not": {"const": 0}},
    "contains": {"type": "array", "contains": {"const": 1}, "minContains": 2},
    "pattern": {"type": "string", "pattern": DECIMAL},
    "minimum": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "minProperties": {"type": "object", "minProperties": 2},
    "propertyNames": {"type": "object", "propertyNames": {"pattern": "^a"}},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "dependentSchemas": {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
    "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
    "unevaluatedItems": {"type": "array", "unevaluatedItems": False},
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^(?!a)": {"type": "string"}},
        "additionalProperties": False,
    },
    "oneOf": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "1.5", "+", "b2"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)


def compiles(body):
    return not LLMatcher.validate_grammar(grammars.grammar(body), None)


@pytest.mark.parametrize(("keyword", "part"), KEYWORDS.items(), ids=KEYWORDS)
def test_a_keyword_that_no_grammar_enforces_is_dropped_and_named_without_content(keyword, part):
    schema = {"type": "object", "properties": {"my-secret": part}, "required": ["my-secret"]}
    strict = JsonSchema(schema_=schema)
    assert f"{keyword} at /properties/*" in grammars.refusal(strict).message
    assert "secret" not in grammars.refusal(strict).message
    if keyword != "minProperties":
        assert not compiles(grammars.body_of(strict, 100))
    bodies = list(grammars.bodies_of(strict, 100, best_effort=True))
    assert all(map(compiles, bodies[-3:]))


@given(st.sampled_from(list(KEYWORDS.values())), VALUES)
def test_what_fits_a_schema_fits_the_relaxed_one_and_its_shape(schema, value):
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(relaxed(schema)).is_valid(value)
        assert Draft202012Validator(shape(schema)).is_valid(value)


def test_the_rest_of_the_schema_stays_as_it_is():
    kept = {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2}
    assert relaxed(kept | {"uniqueItems": True}) == kept
    properties = {"type": "object", "properties": {"not": {"type": "string"}, "if": True}}
    assert relaxed(properties) == properties
    data = {"const": {"not": 1}, "enum": [{"if": 2}]}
    assert relaxed(data) == data
    assert list(unenforced(properties)) == []


@pytest.mark.parametrize(
    "idle", [{"uniqueItems": False}, {"unevaluatedItems": True}, {"unevaluatedProperties": True}]
)
def test_a_keyword_that_demands_nothing_does_not_make_a_schema_unenforceable(idle):
    assert compiles(grammars.body_of(JsonSchema(schema_={"type": "array", **idle}), 50))


@pytest.mark.parametrize(
    ("regex", "rest", "named"),
    [
        (DECIMAL, r"^[+-]?0*\d*\.?\d*$", "a lookahead or lookbehind"),
        (r"(?<=a(b))c[(?=]x\(?=", r"c[(?=]x\(?=", "a lookahead or lookbehind"),
        (r"a(?:b)(?!c(d|e))f", r"a(?:b)f", "a lookahead or lookbehind"),
        (r"(a|b)\1", r"(a|b)(?:a|b)", "a backreference"),
        (r"(?P<x>a+)-(?P=x)", r"(?P<x>a+)-(?:a+)", "a backreference"),
        (r"(?=(a))(b)\2", r"(b)(?:b)", "a lookahead or lookbehind"),
        (r"(?=(a))(b)\1", None, "a lookahead or lookbehind"),
        ("(a)" + "".join(rf"(\{n}\{n})" for n in range(1, 20)), None, "a backreference"),
        (r"\bfoo\b", r"foo", "a word border or a condition"),
        (r"\Afoo\Z", r"foo", "a word border or a condition"),
        (r"a\b+c", None, "a word border or a condition"),
        (r"(?>a+)b", r"(?:a+)b", "a word border or a condition"),
        (r"(a)?(?(1)b|c)", None, "a word border or a condition"),
        (r"[\b(?=]a", None, "a lookahead or lookbehind"),
        (r"(?<x>a)", r"(?<x>a)", "a part"),
    ],
)
def test_lookarounds_are_taken_out_of_a_pattern(regex, rest, named):
    assert relaxed_pattern(regex) == rest
    assert unenforced_in_pattern(regex) == named


WITH_ASSERTIONS = (
    r"\b(\w+)\b \1", r"(?P<x>[ab]+)-(?P=x)", r"\A(a|b)(?!c)(.)\2\1\Z", r"(?>a+)b?", r"((a)b)\1\2",
    r"(?i)(a)(?<=a)\1", r"[]a(]+(b|[)])\1",
)  # fmt: skip


@pytest.mark.parametrize("regex", WITH_ASSERTIONS)
@given(st.text("ab- ()]c", max_size=8))
def test_whatever_an_expression_matches_its_relaxation_matches(regex, text):
    rest = relaxed_pattern(regex)
    if re.fullmatch(regex, text):
        assert re.fullmatch(rest, text)


@pytest.mark.parametrize("regex", WITH_ASSERTIONS)
def test_a_grammar_compiles_for_a_relaxed_expression(regex):
    assert compiles(grammars._pattern(relaxed_pattern(regex)))


@given(st.text("+-.0123", max_size=6))
def test_what_matches_a_pattern_matches_the_relaxed_one(text):
    if re.fullmatch(DECIMAL, text):
        assert re.fullmatch(relaxed_pattern(DECIMAL), text)


def test_the_best_effort_for_a_pattern_or_a_choice():
    pattern = Pattern(regex=r"^(?=a)[ab]+$")
    assert list(grammars.bodies_of(pattern, 9, best_effort=True))[-1] == "/[ab]+/"
    back = Pattern(regex=r"(a)\1[[]")
    assert list(grammars.bodies_of(back, 9, best_effort=True)) == []
    assert "a backreference" in grammars.refusal(back).message
    assert "nor can any other part" in grammars.refusal(back, best_effort=True).message
    with pytest.raises(InvalidJob):
        list(grammars.bodies_of(Choice(options=()), 9, best_effort=True))
    assert "2 labels" in grammars.refusal(Choice(options=("a", "b"))).message


def test_a_constraint_that_outgrows_the_library_is_refused_with_its_size():
    error = grammars.too_large(JsonSchema(schema_={"type": "string"}))
    assert error.field == "schema"
    assert re.search(r"too large .*: \d+ characters", error.message)
