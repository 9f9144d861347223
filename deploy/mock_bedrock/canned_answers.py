"""What the mock answers: the reference answers of known texts, or else that it is no model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.routing.errors import InvalidJob
from forebay.workers.engines.batching.schema_instances import minimal_instance

UNKNOWN = "This is the mock of Bedrock: no model read this text."


@dataclass(frozen=True)
class Reference:
    """The main text of a sample job, and the sample's reference answer."""

    text: str
    answer: str
    is_object: bool


class References:
    """The reference answers of a sample file: JSON lines with `request` and `reference`."""

    def __init__(self, samples: Path | None = None) -> None:
        lines = samples.read_text("utf-8").splitlines() if samples else []
        references = [_reference(json.loads(line)) for line in lines if line.strip()]
        self._references = [reference for reference in references if reference is not None]

    def answer(self, prompt: str, schema: dict[str, Any] | None) -> str:
        """Return the answer to the longest known text in the prompt, or a canned one.

        With a schema, JSON objects are preferred, and an unknown text is answered with a minimal
        instance of the schema.
        """
        matches = [reference for reference in self._references if reference.text in prompt]
        if matches:
            has_schema = schema is not None
            return max(
                matches, key=lambda match: (match.is_object == has_schema, len(match.text))
            ).answer
        return UNKNOWN if schema is None else _instance(schema)


def _instance(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(minimal_instance(schema))
    except InvalidJob:  # it takes a model to fill this schema
        return UNKNOWN


def _reference(sample: dict[str, Any]) -> Reference | None:
    """Return a sample's text and answer; `None` if it has no answer or no text."""
    request, answer = sample["request"], sample.get("reference")
    text = request.get("text") or (request.get("messages") or [{"content": ""}])[-1]["content"]
    if answer is None or not text.strip():
        return None
    answer_text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reference(text.strip(), answer_text, isinstance(answer, dict))
