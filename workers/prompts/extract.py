"""The prompts of `extract`."""

from __future__ import annotations

import json
from typing import Any

from forebay.routing.jobs import Extract
from forebay.workers.engines.engine import JsonSchema, Turn
from forebay.workers.prompts.schema_hints import field_count, narrowed, with_json_values
from forebay.workers.prompts.turns import SPARE_TOKENS, instructions_and_text, system_and_user

TOKENS_PER_FIELD = 24

_LOCAL = "You copy facts from a text into JSON."

# Solved examples for small models. Measured on the packaged model: without them, and without
# `with_json_values` and `narrowed`, none of the demo's nine extractions is right; with all three,
# four are, and four of eight other texts. A third example changes nothing.
_EXAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "Parcel PK-4471 for Ines Varga left our depot in Larkfield on 2025-05-03. Weight 2.5 kg.",
        {
            "parcel_number": "PK-4471",
            "recipient": "Ines Varga",
            "date": "2025-05-03",
            "weight": 2.5,
        },
    ),
    (
        "Dear team, my washing machine (serial no. 88123) leaks. Price was 480.00 USD. Tom Hale",
        {
            "serial_number": "88123",
            "product": "washing machine",
            "customer": "Tom Hale",
            "price": 480.0,
            "currency": "USD",
        },
    ),
)


def local_turns(request: Extract) -> list[Turn]:
    """Return the turns for a local model, with two solved examples."""
    examples = [
        turn
        for text, answer in _EXAMPLES
        for turn in (
            Turn(role="user", content=_text_and_fields(text, ", ".join(answer))),
            Turn(role="assistant", content=json.dumps(answer)),
        )
    ]
    text = with_json_values(request.text, request.schema_)
    system, user = system_and_user(_LOCAL, _text_and_fields(text, _fields(request.schema_)))
    return [system, *examples, user]


def frontier_turns(request: Extract) -> list[Turn]:
    """Return the turns for a frontier model."""
    instructions = (
        "Extract facts from a text as one JSON object that validates against the JSON Schema "
        "below. Copy values as they stand in the text, in the format that the schema asks for; "
        "never guess or compute. What the text does not say is null where the schema allows it. "
        f"Answer with the object alone.\nJSON Schema: {json.dumps(request.schema_)}"
    )
    return instructions_and_text(instructions, request.text)


def local_constraint(request: Extract) -> JsonSchema:
    """Return the constraint on a local model: the schema, narrowed to what the text can fill."""
    return JsonSchema(schema_=narrowed(request.schema_, request.text))


def frontier_constraint(request: Extract) -> JsonSchema:
    """Return the constraint on a frontier model: the schema."""
    return JsonSchema(schema_=request.schema_)


def max_tokens(request: Extract) -> int:
    """Return how many tokens the answer may have."""
    return SPARE_TOKENS + TOKENS_PER_FIELD * field_count(request.schema_)


def _text_and_fields(text: str, fields: str) -> str:
    return f"Text:\n{text}\n\nFields: {fields}"


def _fields(schema: dict[str, Any]) -> str:
    """Return the names of the fields, each with its description if the schema has one."""
    properties = schema.get("properties", {})
    notes = {
        name: part.get("description") if isinstance(part, dict) else None
        for name, part in properties.items()
        if part is not False  # the schema forbids the field
    }
    return ", ".join(f"{name} ({note})" if note else name for name, note in notes.items())
