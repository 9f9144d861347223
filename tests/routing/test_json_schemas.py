"""A schema is checked in linear time, and as jsonschema checks it against the schema of schemas."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from itertools import islice

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.fuzz.schemas import Schemas

from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.jobs import Extract
from forebay.routing.json_schemas import MAX_SCHEMA_NODES, _check_keywords
from forebay.routing.json_tree import nodes, subschemas
from growth import LINEAR, TIMES, growth

ODD_VALUES = (None, True, 0, -1, 1.0, 2.5, "", "a#b", "object", "1x", [], {}, [{}], [1], ["a", "a"])
ODD_VALUES += ({"a": 1}, {"a": ["b", "b"]}, {"a": {}}, ["string", "null"], [[]], {"a": True})
KEYWORDS = (
    "$id", "$schema", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$comment",
    "$defs", "prefixItems", "items", "contains", "additionalProperties", "properties",
    "patternProperties", "dependentSchemas", "propertyNames", "if", "then", "else", "allOf",
    "anyOf", "oneOf", "not", "unevaluatedItems", "unevaluatedProperties", "type", "const", "enum",
    "multipleOf", "maximum", "exclusiveMinimum", "maxLength", "minLength", "minItems",
    "uniqueItems", "maxContains", "minProperties", "required", "dependentRequired", "title",
    "default", "deprecated", "readOnly", "examples", "format", "contentEncoding",
    "contentMediaType", "contentSchema", "definitions", "x-unknown",
)  # fmt: skip


METASCHEMA = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
)


def fits_metaschema(schema):
    return METASCHEMA.is_valid(schema)


def fits_rules(schema):
    try:
        for path, node in subschemas(schema):
            _check_keywords(path, node)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_each_keyword_takes_the_values_that_the_schema_of_schemas_admits(keyword):
    for value in ODD_VALUES:
        for schema in ({keyword: value}, {"items": {keyword: value}}):
            assert fits_rules(schema) == fits_metaschema(schema), (keyword, value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.sampled_from(KEYWORDS), st.sampled_from(ODD_VALUES))
def test_whole_schemas_are_judged_as_the_schema_of_schemas_judges_them(seed, keyword, value):
    schema, _ = Schemas(random.Random(seed)).pair()
    assume(sum(1 for _ in islice(nodes(schema), 300)) < 300)
    schema = json.loads(json.dumps(schema))
    parts = [node for _, node in subschemas(schema)]
    assert fits_rules(schema) == fits_metaschema(schema)
    random.Random(seed).choice(parts)[keyword] = deepcopy(value)
    assert fits_rules(schema) == fits_metaschema(schema)


def references(size):
    return {"anyOf": [{"$ref": "#/$defs/x"}] * size, "$defs": {"x": {}}}


def long_chains(size):
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(40)}
    return {"anyOf": [{"$ref": "#/$defs/d0"}] * size, "$defs": {**chain, "d40": {}}}


def low_leaves(size):
    schema = {"anyOf": [{}] * size}
    for _ in range(40):
        schema = {"items": schema}
    return schema


def anchors(size):
    parts = {f"d{n}": {"$anchor": f"a{n}"} for n in range(size)}
    return {"anyOf": [{"$ref": f"#a{n}"} for n in range(size)], "$defs": parts}


def patterns(size):
    return {"properties": {f"p{n}": {"pattern": f"^(a|{n}){{0,9}}$"} for n in range(size)}}


FAMILIES = {
    "references": references,
    "chains of references": long_chains,
    "leaves far down": low_leaves,
    "anchors": anchors,
    "patterns": patterns,
    "one pattern": lambda size: {"pattern": "(ab|c)" * size},
    "an enum": lambda size: {"enum": [{"a": [n]} for n in range(size)]},
    "required names": lambda size: {"required": [f"n{n}" for n in range(size)]},
    "dependencies": lambda size: {"dependencies": {f"n{n}": {"not": {}} for n in range(size)}},
    "trees": lambda size: {"allOf": [{"allOf": [{"not": {}}] * 4}] * (size // 4)},
    "plain properties": lambda size: {"properties": {f"n{n}": {"type": "string"}
                                                     for n in range(size)}},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_cost_of_a_schema_at_submit_is_linear_in_its_size(family):
    def submit(schema):
        re.purge()
        return Extract(text="x", schema={"type": "object", **schema})

    assert growth(submit, family(100), family(100 * TIMES)) < LINEAR


def test_the_largest_schema_is_accepted_and_a_larger_one_is_refused():
    def schema(size):
        return {"type": "object", "properties": {f"n{n}": {"anyOf": [{}] * 4} for n in range(size)}}

    Extract(text="x", schema=schema((MAX_SCHEMA_NODES - 3) // 6))
    with pytest.raises(TooLong, match=f"at most {MAX_SCHEMA_NODES} parts"):
        Extract(text="x", schema=schema(MAX_SCHEMA_NODES // 6 + 1))


@pytest.mark.parametrize(
    "root",
    [
        {"type": ["object", "null"]},
        {"type": ["null", "object"]},
        {"type": "object", "nullable": True},
    ],
)
def test_a_root_that_may_be_null_is_taken_as_that_of_an_object(root):
    schema = Extract(text="x", schema={**root, "properties": {"a": {"type": "string"}}}).schema_
    assert schema == {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "root",
    [
        {"type": ["array", "null"]},
        {"anyOf": [{"type": "object"}, {"type": "null"}]},
        {"type": 1},
        {},
    ],
)
def test_any_other_root_is_refused_with_the_fix(root):
    with pytest.raises(InvalidJob) as caught:
        Extract(text="x", schema=root)
    assert caught.value.field == "schema"
    assert ("at the root" in str(caught.value)) or "/type" in str(caught.value)


def test_dependencies_of_older_drafts_are_translated():
    given = {"type": "object", "dependencies": {"a": ["b"], "c": {"required": ["d"]}, "e": True}}
    assert Extract(text="x", schema=given).schema_ == {
        "type": "object",
        "dependentRequired": {"a": ["b"]},
        "dependentSchemas": {"c": {"required": ["d"]}, "e": True},
    }


@pytest.mark.parametrize("keyword", ["$recursiveRef", "divisibleBy", "disallow", "extends"])
def test_a_keyword_that_no_longer_exists_is_refused_by_name(keyword):
    part = json.loads(f'{{"{keyword}": "#"}}')
    with pytest.raises(InvalidJob, match=r"at /properties/\*/\$?\w+: write \$?\w+$") as caught:
        Extract(text="x", schema={"type": "object", "properties": {"a": part}})
    assert keyword in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["item", "https://x.example/s", "https://x.example/s#/$defs/q"]
)
def test_a_reference_to_another_schema_is_refused_with_its_place(reference):
    part = {"$id": "https://x.example/s", "$ref": reference}
    with pytest.raises(InvalidJob, match=r"at /properties/\*/\$ref: write #/\.\.\.$"):
        Extract(text="x", schema={"type": "object", "properties": {"a": part}})
    hidden = {"components": {"a": {"$ref": reference}}}
    with pytest.raises(InvalidJob, match="must point into the schema itself"):
        Extract(text="x", schema={"type": "object", "properties": {"a": {}}, **hidden})


@pytest.mark.parametrize("wrapper", [{}, {"strict": True}, {"description": "an answer"}])
def test_a_schema_in_the_wrapper_of_another_api_is_refused_with_the_fix(wrapper):
    wrapped = {"name": "answer", "schema": {"type": "object", "properties": {}}, **wrapper}
    for schema in (wrapped, {"type": "json_schema", "json_schema": wrapped}):
        with pytest.raises(InvalidJob, match="give what `schema` holds"):
            Extract(text="x", schema=schema)
