"""What is asked of Bedrock: a prompt as a request of Converse, and what it can cost in tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from forebay.workers.engines.engine import JsonSchema, Prompt, Turn

#: Key under which Bedrock's invocation log knows a call; the value is its id.
CALL_KEY = "forebay-call"

#: Tokens for thoughts, above a prompt's own limit, where a model cannot be told not to think.
THINKING_ROOM = 2_048

# Tokens that a turn, and a request, have at most beside their text.
_TURN_ROOM, _CALL_ROOM = 16, 512

# From these versions on Claude thinks always, and takes no temperature.
_CLAUDE = re.compile(r"claude-(opus|sonnet|haiku|fable)-(\d+)(?:-(\d{1,2})(?!\d))?")
_THINKS_FROM = {"opus": (4, 7), "sonnet": (5, 0), "haiku": (5, 5), "fable": (5, 0)}

# Words of a schema that structured output does not know; the checks of the answer do.
_UNHELD = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip
_BY_NAME = {"properties", "$defs", "definitions"}
_IN_A_LIST = {"anyOf", "oneOf", "allOf", "prefixItems"}


def converse_request(prompt: Prompt, model: str, call_id: str) -> dict[str, Any]:
    """The parameters of boto3's `converse`. Of metadata, the call's id goes along and no more."""
    turns = [turn for turn in prompt.messages if turn.role != "system"]
    system = [turn for turn in prompt.messages if turn.role == "system"]
    request: dict[str, Any] = {
        "modelId": model,
        # Roles must alternate, so turns of one role in a row are blocks of one message.
        "messages": [
            {"role": role, "content": _blocks(row)}
            for role, row in groupby(turns, key=lambda turn: turn.role)
        ],
        "inferenceConfig": _limits(prompt, model),
        "requestMetadata": {CALL_KEY: call_id},
    }
    if system:
        request["system"] = _blocks(system)
    schema = _held_schema(prompt, model)
    if schema is not None:
        structure = {"jsonSchema": {"name": "answer", "schema": json.dumps(schema)}}
        request["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
    return request


def bounds(prompt: Prompt, model: str) -> tuple[int, int]:
    """Tokens that a call can be billed for at most: of its prompt, and of its answer.

    No tokenizer makes more tokens of a text than it has bytes.
    """
    texts = [turn.content for turn in prompt.messages]
    if isinstance(prompt.constraint, JsonSchema):
        texts.append(json.dumps(prompt.constraint.schema_))
    size = sum(len(text.encode()) + _TURN_ROOM for text in texts)
    return size + _CALL_ROOM, _max_tokens(prompt, model)


def _blocks(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [{"text": turn.content} for turn in turns]


def _limits(prompt: Prompt, model: str) -> dict[str, Any]:
    # Without maxTokens Bedrock takes the model's longest answer off the account's quota.
    limits: dict[str, Any] = {"maxTokens": _max_tokens(prompt, model)}
    if prompt.stop:
        limits["stopSequences"] = list(prompt.stop)
    if not _thinks(model):
        limits["temperature"] = min(prompt.temperature, 1.0)
        # Claude takes one of the two.
        if prompt.top_p < 1.0 and "anthropic." not in model:
            limits["topP"] = prompt.top_p
    return limits


def _max_tokens(prompt: Prompt, model: str) -> int:
    return prompt.max_tokens + (THINKING_ROOM if _thinks(model) else 0)


def _thinks(model: str) -> bool:
    found = _CLAUDE.search(model)
    if found is None:
        return False
    return (int(found[2]), int(found[3] or 0)) >= _THINKS_FROM[found[1]]


def _held_schema(prompt: Prompt, model: str) -> dict[str, Any] | None:
    """The schema for structured output; none where there is none to hold, or Bedrock cannot."""
    # Nova has no structured output.
    if not isinstance(prompt.constraint, JsonSchema) or "amazon." in model:
        return None
    try:
        held: dict[str, Any] = _held(prompt.constraint.schema_)
    except _FreeFormError:
        return None
    return held


class _FreeFormError(Exception):
    """The schema has an object whose members are not named: structured output would empty it."""


def _held(schema: Any) -> Any:
    """The same schema in the words that structured output knows, every object closed."""
    if not isinstance(schema, dict):
        return schema
    held = {word: _held_word(word, value) for word, value in schema.items() if word not in _UNHELD}
    if "object" in (schema.get("type"), *_listed(schema.get("type"))):
        if not schema.get("properties") or isinstance(schema.get("additionalProperties"), dict):
            raise _FreeFormError
        held["additionalProperties"] = False
    return held


def _held_word(word: str, value: Any) -> Any:
    if word in _BY_NAME and isinstance(value, dict):
        return {name: _held(part) for name, part in value.items()}
    if word in _IN_A_LIST:
        return [_held(part) for part in _listed(value)]
    return _held(value) if word == "items" else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
