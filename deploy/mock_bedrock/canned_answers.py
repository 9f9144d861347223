"""What the stand-in says: reference answers to known texts, and otherwise that it is no model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNKNOWN = "This is the stand-in for Bedrock: no model read this text."

_EMPTY: dict[str, Any] = {
    "string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "null": None,
}  # fmt: skip
_DEPTH = 16  # of a schema that refers to itself


@dataclass(frozen=True)
class Reference:
    """The main text of a job, and the answer that stands in its sample."""

    text: str
    answer: str
    is_object: bool


class References:
    """The reference answers of a sample file: JSON lines with `request` and `reference`."""

    def __init__(self, samples: Path | None = None) -> None:
        lines = samples.read_text("utf-8").splitlines() if samples else []
        found = [_reference(json.loads(line)) for line in lines if line.strip()]
        self._known = [one for one in found if one is not None]

    def answer(self, prompt: str, schema: dict[str, Any] | None) -> str:
        """The answer of the longest known text that occurs in the prompt."""
        fits = [one for one in self._known if one.text in prompt]
        if fits:
            wanted = schema is not None
            return max(fits, key=lambda one: (one.is_object == wanted, len(one.text))).answer
        return UNKNOWN if schema is None else json.dumps(instance(schema, schema))


def instance(schema: Any, root: dict[str, Any], depth: int = 0) -> Any:
    """A small value of a schema's shape; bounds of numbers, lengths and patterns are not looked at.

    Args:
        schema: the part of it that the value is for.
        root: the whole schema, which `$ref` points into.
        depth: of the value in the whole.
    """
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "$ref" in schema:
        return instance(_resolved(schema["$ref"], root), root, depth + 1)
    for key in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(key):
            first = schema[key][0]
            return first if key == "enum" else instance(first, root, depth + 1)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind != "object":
        return _EMPTY[kind]
    members = schema.get("properties", {})
    return {name: instance(part, root, depth + 1) for name, part in members.items()}


def _resolved(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {})
    return node


def _reference(sample: dict[str, Any]) -> Reference | None:
    request, answer = sample["request"], sample.get("reference")
    text = request.get("text") or (request.get("messages") or [{"content": ""}])[-1]["content"]
    if answer is None or not text.strip():
        return None
    said = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reference(text.strip(), said, isinstance(answer, dict))
