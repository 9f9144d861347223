"""Constraints as grammars: narrower schemas fit the original, ambiguous constraints are refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.engine import Choice, JsonSchema, Pattern
from forebay.workers.engines.tokens.grammars import body_of, bounded

LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 3},
        {"type": ["string", "null"]},
        {"type": "integer"},
        {"enum": ["a", "b"]},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda names: {"type": "object", "properties": names, "required": list(names)},
            st.dictionaries(
                st.sampled_from(["type", "a", "enum", "properties"]), inner, max_size=3
            ),
        ),
        st.builds(lambda either: {"anyOf": either}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=40) | st.just("a"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "a", "enum", "properties"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_values_that_fit_the_narrower_schema_fit_the_original(schema, value):
    narrower = bounded(schema, 64)
    Draft202012Validator.check_schema(narrower)
    if Draft202012Validator(narrower).is_valid(value):
        assert Draft202012Validator(schema).is_valid(value)


def test_an_object_stays_open_for_a_property_that_is_required_and_not_described():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}
    assert "additionalProperties" not in bounded(schema, 200)


def test_unbounded_strings_and_objects_are_bounded():
    narrower = bounded({"type": "object", "properties": {"a": {"type": "string"}}}, 200)
    assert narrower["properties"]["a"]["maxLength"] == 300
    assert narrower["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "object", "properties": {"a": {}}}], "required": ["b"]},
        {
            "type": "object",
            "properties": {"a": {}},
            "anyOf": [{"type": "object", "properties": {"b": {}}, "required": ["b"]}],
        },
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
    ],
)
def test_objects_described_in_several_places_stay_open(schema):
    assert '"additionalProperties": false' not in json.dumps(bounded(schema, 64))


def test_a_schema_cannot_loosen_its_own_grammar():
    loose = {"type": "object", "x-guidance": {"lenient": True}}
    assert "lenient" not in bounded(loose, 64)["x-guidance"]


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ({"minProperties": 2}, False),
        ({"minProperties": 2, "required": ["a", "b"]}, True),
        ({"items": [{"anyOf": [{"minProperties": 1}]}]}, False),
        ({"const": {"minProperties": 1}}, True),
        ({"properties": {"minProperties": {"type": "integer"}}}, True),
    ],
)
def test_a_count_that_a_property_written_twice_would_satisfy_is_refused(schema, accepted):
    if accepted:
        assert body_of(JsonSchema(schema_=schema), 10)
        return
    with pytest.raises(InvalidJob) as caught:
        body_of(JsonSchema(schema_=schema), 10)
    assert caught.value.field == "schema"


@pytest.mark.parametrize("regex", ["[[a]b]", "[a--b]", "[a&&b]", "[a~~b]", "[a||b]"])
def test_a_pattern_that_python_and_rust_read_differently_is_refused(regex):
    with pytest.raises(InvalidJob) as caught:
        body_of(Pattern(regex=regex), 10)
    assert caught.value.field == "regex"


@pytest.mark.parametrize(
    ("regex", "body"),
    [
        ("^ab$", "/ab/"),
        ("a/b", r"/a\/b/"),
        (r"a\/b", r"/a\/b/"),
        (r"a\\/b", r"/a\\\/b/"),
        (r"a\$", r"/a\$/"),
    ],
)
def test_a_pattern_cannot_end_its_own_slashes(regex, body):
    assert body_of(Pattern(regex=regex), 10) == body


@pytest.mark.parametrize("options", [(), ("a", "")])
def test_a_choice_without_options_or_with_an_empty_one_is_refused(options):
    with pytest.raises(InvalidJob) as caught:
        body_of(Choice(options=options), 10)
    assert caught.value.field == "labels"
