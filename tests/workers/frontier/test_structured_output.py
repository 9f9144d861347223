"""Schemas that Bedrock is known to refuse are asked for in words."""

from __future__ import annotations

import pytest

from forebay.workers.frontier.structured_output import MAX_OPTIONAL, MAX_UNIONS, is_refused

NULLABLE = {"type": ["string", "null"]}


def of(*parts, required=True, **more):
    properties = {f"f{number}": part for number, part in enumerate(parts)}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required else [],
        **more,
    }


RECURSIVE = {"N": of({"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]})}
MUTUAL = {"A": of({"$ref": "#/$defs/B"}), "B": of({"$ref": "#/$defs/A"})}
SHARED = {"A": of({"$ref": "#/$defs/B"}), "B": of({"type": "string"})}


@pytest.mark.parametrize(
    "schema",
    [
        of({"type": ["string", "null"], "enum": ["low", "high", None]}),
        of({"type": "string", "enum": ["low", None]}),
        of({"type": "integer", "enum": [1, "2"]}),
        of({"enum": ["a", ["b"]]}),
        of({"enum": [{"a": 1}, "b"]}),
        of(*[NULLABLE] * (MAX_UNIONS + 1)),
        of(*[{"anyOf": [{"type": "string"}, {"type": "null"}]}] * (MAX_UNIONS + 1)),
        of(*[{"type": "string"}] * (MAX_OPTIONAL + 1), required=False),
        of({"type": "string", "format": "binary"}),
        of({"type": "array", "items": {"type": "string", "format": "idn-email"}}),
        of({"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?[0-9]*$"}),
        of({"type": "string", "pattern": r"(a)\1"}),
        of({"type": "string", "pattern": r"\bword\b"}),
        of({"$ref": "#"}),
        of({"$ref": "#/$defs/N"}, **{"$defs": RECURSIVE}),
        of({"$ref": "#/$defs/A"}, **{"$defs": MUTUAL}),
        of({"$ref": "#/definitions/N"}, definitions={"N": of({"$ref": "#/definitions/N"})}),
    ],
)
def test_a_schema_that_bedrock_refuses_is_known(schema):
    assert is_refused(schema)


@pytest.mark.parametrize(
    "schema",
    [
        of({"type": "string", "enum": ["low", "high"]}, {"enum": ["low", None]}),
        of(*[NULLABLE] * MAX_UNIONS),
        of(*[{"type": "string"}] * 60),
        of({"type": "string", "format": "date"}, {"type": "number", "enum": [1, 2.5]}),
        of({"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, **{"$defs": SHARED}),
        of({"const": {"format": "binary"}}),
        of({"type": "string", "pattern": r"^[A-Z]{2}-\d+$"}),
    ],
)
def test_a_schema_that_bedrock_takes_is_sent(schema):
    assert not is_refused(schema)
