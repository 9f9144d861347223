"""The smallest instance of a schema is found in time, or not at all."""

import pytest
from tests.support.stopwatch import within

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.batching.schema_instances import minimal_instance
from forebay.workers.isolation.schemas import first_violation

BOTH = {"type": "object", "required": ["a", "b"]}
ENDLESS = {
    "a reference that doubles": BOTH | {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
    "a reference to itself": {"type": "object", "$ref": "#"},
    "a billion items": {"type": "array", "minItems": 10**9},
    "items of items": {"type": "array", "minItems": 99, "items": {"type": "array", "minItems": 99}},
    "a string of a terabyte": {"type": "string", "minLength": 10**12},
    "a pattern": {"type": "string", "minLength": 60, "pattern": "^((x+)+)+y$"},
}


def nested(levels):
    schema = {"type": "object", "unevaluatedProperties": False}
    for _ in range(levels):
        schema = {"type": "object", "allOf": [schema], "unevaluatedProperties": False}
    return schema


@pytest.mark.slow
@pytest.mark.parametrize("schema", [*ENDLESS.values(), nested(22)], ids=[*ENDLESS, "unevaluated"])
def test_a_schema_that_takes_too_long_is_refused(schema):
    with within(5, AssertionError), pytest.raises(InvalidJob) as caught:
        minimal_instance(schema)
    assert caught.value.field == "schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/x"}},
         "$defs": {"x": {"type": "string", "pattern": "^x+$", "minLength": 3}}},
        {"type": "array", "items": {"type": "integer", "minimum": 2}, "minItems": 2},
        nested(2),
    ],
)  # fmt: skip
def test_an_ordinary_schema_has_an_instance(schema):
    assert first_violation(schema, minimal_instance(schema)) is None
