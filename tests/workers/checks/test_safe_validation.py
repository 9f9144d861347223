"""Patterns and schemas of callers are checked correctly, in bounded time, and fetch nothing."""

import pytest
from tests.support.stopwatch import within

from forebay.workers.checks.safe_validation import mismatch, violation

NESTED = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}


def test_the_whole_text_must_match():
    assert mismatch("[a-z]+", "abc") is None
    assert mismatch("[a-z]+", "abc1") == "does not match"
    assert mismatch("\u00e4|\u2028", "\u2028") is None


def test_a_pattern_that_never_ends_is_stopped():
    with within(5, AssertionError):
        assert mismatch("(a+)+$", "a" * 40 + "b", timeout_s=0.5) == "takes too long to check"


@pytest.mark.slow
def test_a_pattern_in_a_schema_that_never_ends_is_stopped():
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert violation(schema, "a" * 40 + "b", timeout_s=1.0) == "takes too long to check"


@pytest.mark.slow
def test_references_that_multiply_are_stopped():
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**defs, "d40": {"type": "integer"}}}
    assert violation(schema, 1, timeout_s=1.0) == "takes too long to check"


@pytest.mark.parametrize(
    ("schema", "data", "keyword"),
    [
        ({"type": "object", "required": ["secret"]}, {}, "required"),
        ({"type": "string", "format": "date"}, "tomorrow", "format"),
        ({"type": "string", "pattern": "^a"}, "b", "pattern"),
        ({**NESTED, "$ref": "#/$defs/node"}, {"next": {"next": 1}}, "type"),
        ({"minimum": 3}, 2, "minimum"),
        (False, 1, "false"),
    ],
)
def test_only_the_violated_keyword_is_named(schema, data, keyword):
    assert violation(schema, data) == keyword


@pytest.mark.parametrize(
    ("step", "right", "wrong"),
    [(0.01, 19.99, 19.999), (0.1, 0.3, 0.35), (0.05, 1e300, 0.07), (2, 4.0, 3), (1e-9, 2.5, 1e-10)],
)
def test_a_multiple_is_one_as_it_is_written(step, right, wrong):
    assert violation({"multipleOf": step}, right) is None
    assert violation({"multipleOf": step}, wrong) == "multipleOf"
    assert violation({"multipleOf": step}, True) is None


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({}, None),
        ({"type": "string", "pattern": "^a+$"}, "aaa"),
        ({**NESTED, "$ref": "#/$defs/node"}, {"next": {"next": {}}}),
    ],
)
def test_valid_data_has_no_violation(schema, data):
    assert violation(schema, data) is None


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "https://example.invalid/schema"}, {"$ref": "#/$defs/missing"}, {"$ref": "#"},
     {"type": "string", "pattern": "("}, {"multipleOf": 0}],
)  # fmt: skip
def test_a_schema_that_cannot_be_checked_does_not_pass(schema):
    assert violation(schema, 5 if "multipleOf" in schema else "a") == "cannot be checked"


def test_a_document_too_deep_to_check_does_not_pass():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    schema = {**NESTED, "type": "object", "additionalProperties": {"$ref": "#"}}
    assert violation(schema, deep) == "cannot be checked"
