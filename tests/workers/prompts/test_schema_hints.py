"""A schema gets narrower and never wider; a text keeps its meaning."""

import pytest
from jsonschema import Draft202012Validator

from forebay.routing.jobs import parse_job
from forebay.workers.prompts import extract
from forebay.workers.prompts.schema_hints import field_count, narrowed, with_json_values

DATED = {"properties": {"when": {"type": "string", "format": "date"}}}
NUMBERED = {"properties": {"much": {"type": ["number", "null"]}}}


def test_strings_and_lists_get_a_maximum_length():
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "lines": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        },
    }
    narrow = narrowed(schema, "text")
    assert narrow["properties"]["type"] == {"type": "string", "maxLength": 60}
    lines = narrow["properties"]["lines"]
    assert lines["maxItems"] == 8
    assert lines["items"]["anyOf"][0]["maxLength"] == 60
    Draft202012Validator.check_schema(narrow)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "maxLength": 500},
        {"type": "string", "pattern": "^a+$"},
        {"type": "string", "format": "date"},
        {"type": "array", "maxItems": 90},
        {"enum": ["x", 3, None]},
        {"const": {"type": "string"}},
        True,
    ],
)
def test_a_part_that_is_bounded_already_stays_as_it_is(part):
    assert (
        narrowed({"type": "object", "properties": {"a": part}}, "text")["properties"]["a"] == part
    )


def test_a_bound_never_contradicts_the_schema():
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 100},
                                               "b": {"type": "array", "minItems": 20}}}  # fmt: skip
    narrow = narrowed(schema, "text")["properties"]
    assert narrow["a"]["maxLength"] == 100
    assert narrow["b"]["maxItems"] == 20


@pytest.mark.parametrize(
    ("text", "options"),
    [("paid 3 EUR", ["EUR"]), ("paid 3 \u20ac", ["EUR"]), ("EUR or USD", ["EUR", "USD"]),
     ("paid", ["EUR", "USD", "GBP"])],
)  # fmt: skip
def test_only_the_options_that_the_text_names_stay_if_it_names_any(text, options):
    schema = {"type": "object", "properties": {"c": {"enum": ["EUR", "USD", "GBP"]}}}
    assert narrowed(schema, text)["properties"]["c"]["enum"] == options


def test_the_callers_schema_is_not_changed():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    narrowed(schema, "text")
    assert schema == {"type": "object", "properties": {"a": {"type": "string"}}}


def test_dates_and_numbers_are_written_as_in_json():
    text = "On 9 April 2026 we paid 12,480.50, then 1.234,50 and 3/4/2026."
    assert (
        with_json_values(text, DATED)
        == "On 2026-04-09 we paid 12,480.50, then 1.234,50 and 3/4/2026."
    )
    assert (
        with_json_values(text, NUMBERED)
        == "On 9 April 2026 we paid 12480.50, then 1234.50 and 3/4/2026."
    )
    assert with_json_values(text, {"properties": {"a": {"type": "string"}}}) == text


def test_numbers_that_may_be_identifiers_stay():
    text = "Articles 1,2,3 and 10.0.4.17, list 4,5000, item 1.234"
    assert with_json_values(text, NUMBERED) == text


def test_a_field_in_a_list_counts_several_times():
    line = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    listed = {"type": "array", "items": line}
    assert field_count(line) == 2
    assert field_count({"type": "object", "properties": {"x": line, "y": listed}}) == 2 + 2 * 4
    assert field_count({"type": "object"}) == 1


def test_a_field_may_be_forbidden_by_a_boolean_schema():
    schema = {
        "type": "object",
        "properties": {"customer": {"type": "string"}, "legacy": False, "free": True},
    }
    task = parse_job(
        {"request": {"kind": "extract", "text": "Customer: Ada Byron.", "schema": schema}}
    )
    turns = extract.local_turns(task.request)
    assert turns[-1].content.endswith("Fields: customer, free")
