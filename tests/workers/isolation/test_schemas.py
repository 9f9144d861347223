"""Only schemas of known linear cost are validated in the worker itself."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.isolation.schemas import MAX_STEPS, first_violation, is_cheap, weight

LEAF = {"type": "string", "maxLength": 9}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "object", "properties": {"pattern": LEAF, "$ref": LEAF}, "required": ["$ref"]},
        {"type": "array", "items": {"anyOf": [LEAF, {"type": "null"}], "default": {"$ref": "#"}}},
        {"enum": [{"pattern": "x"}], "format": "date", "description": "a day"},
        {"prefixItems": [LEAF], "additionalProperties": False},
    ],
)
def test_ordinary_schemas_are_cheap(schema):
    assert is_cheap(schema, {"a": "b"})


@pytest.mark.parametrize(
    "keyword",
    [
        {"$ref": "#"}, {"$dynamicRef": "#"}, {"pattern": "a"}, {"patternProperties": {"a": LEAF}},
        {"unevaluatedProperties": False}, {"unevaluatedItems": False}, {"uniqueItems": True},
        {"dependentSchemas": {"a": LEAF}}, {"propertyNames": LEAF}, {"contains": LEAF},
        {"not": LEAF}, {"if": LEAF}, {"format": "regex"}, {"format": ["date"]}, {"$id": "x:y"},
        {"a keyword of a later draft": True},
    ],
    ids=lambda keyword: next(iter(keyword)),
)  # fmt: skip
@pytest.mark.parametrize(
    "place",
    [
        lambda schema: schema,
        lambda schema: {"properties": {"a": schema}},
        lambda schema: {"items": {"anyOf": [True, schema]}},
        lambda schema: {"additionalProperties": schema},
    ],
    ids=["root", "property", "alternative", "additional"],
)
def test_a_schema_with_any_other_keyword_is_not_cheap(keyword, place):
    assert not is_cheap(place(keyword), {"a": 1})


def test_a_large_document_or_schema_is_not_cheap():
    assert not is_cheap({"items": LEAF}, ["a"] * MAX_STEPS)
    assert not is_cheap({"enum": ["a"] * MAX_STEPS}, "a")
    assert not is_cheap({}, "a" * 64 * MAX_STEPS)


def test_weighing_ends_at_the_limit():
    began = time.process_time()
    assert weight(["a"] * 1_000_000, 10) == 11
    assert time.process_time() - began < 0.5


cheap_schemas = st.recursive(
    st.sampled_from([True, False, LEAF, {"type": "integer"}, {"enum": ["a", 1]}, {"const": {}}]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"anyOf": schemas})
        | st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"oneOf": schemas})
        | st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"allOf": schemas})
        | inner.map(lambda schema: {"items": schema})
        | inner.map(lambda schema: {"properties": {"a": schema}, "additionalProperties": schema})
    ),
    max_leaves=40,
)
documents = st.recursive(
    st.sampled_from(["a", 1, None, "b" * 2_000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=40,
)


@given(schema=cheap_schemas, data=documents)
def test_what_counts_as_cheap_takes_moments(schema, data):
    if not is_cheap(schema, data):
        return
    began = time.process_time()
    first_violation(schema, data)
    assert time.process_time() - began < 0.2


def test_a_value_that_a_false_schema_forbids_is_named_as_such():
    assert first_violation({"properties": {"a": False}}, {"a": 1}) == "false"
