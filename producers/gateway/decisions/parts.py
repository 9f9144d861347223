"""The parts of a text in the wire formats of decisions: texts, and JSON that is read as text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

#: The types of parts, and the field that holds the content of each.
_CONTENT = {"input_text": "text", "output_text": "text", "refusal": "refusal", "input_json": "data"}
_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"enum": ["input_text", "output_text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_JSON_PART = {
    "type": "object",
    "properties": {
        "type": {"const": "input_json"},
        "data": {"anyOf": [{"type": "object"}, {"type": "array"}]},
    },
    "required": ["type", "data"],
}
_PARTS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"anyOf": [_TEXT_PART, _JSON_PART]}},
    ]
}


def as_text(value: Any) -> str:
    """Return a value as a model reads it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _content(value: Any) -> Any:
    """Return the content of parts: the data of a single JSON part, or else the joined text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("must be text, or a list of parts")
    parts = [_part(number, part) for number, part in enumerate(value)]
    return parts[0] if len(parts) == 1 else "\n\n".join(map(as_text, parts))


def _part(number: int, part: Any) -> Any:
    """Return the text or the data of a part."""
    kind = part.get("type") if isinstance(part, dict) else None
    name = _CONTENT.get(kind) if isinstance(kind, str) else None
    if name is None:
        words = {"why": f"part {number} is not supported: every part must be text or JSON"}
        raise PydanticCustomError("not_supported", "{why}", words)
    content = part.get(name)
    if not isinstance(content, (dict | list) if name == "data" else str):
        raise ValueError(f"part {number} must have its {name}")  # noqa: TRY004 - pydantic's
    return content


def _joined(value: Any) -> str:
    return as_text(_content(value))


#: A text or a list of parts, as one text.
PartsText = Annotated[str, BeforeValidator(_joined), WithJsonSchema(_PARTS)]
#: The same; a single part of JSON stays what it is.
PartsContent = Annotated[
    str | dict[str, Any] | list[Any], BeforeValidator(_content), WithJsonSchema(_PARTS)
]
