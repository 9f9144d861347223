"""A prompt as a request of Bedrock's Converse, and the most tokens it can be billed for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from forebay.routing.base import shows_text
from forebay.routing.books.invocations import CALL_KEY
from forebay.routing.limits.prices import Prices
from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import Prompt, Turn
from forebay.workers.frontier.sending.sent_turns import enforced_schema, most_tokens, turns_for
from forebay.workers.frontier.sending.stops import sent_stops
from forebay.workers.frontier.structured_output import is_refused
from forebay.workers.frontier.terms import PLAIN, Terms

#: Ends the part of a prompt that Bedrock keeps in its cache for five minutes.
CACHE_POINT = {"cachePoint": {"type": "default"}}

#: Tokens for reasoning, above the prompt's own limit, for models whose reasoning cannot be off.
REASONING_TOKENS = 2_048

#: The user's turn in front of a chat that an assistant's turn begins.
_OPENING = "(The conversation begins.)"

_TOKENS_PER_CALL = 512  # upper bound of the tokens of a request that are not those of its turns

# Keywords that structured output does not support; the checks of the answer enforce them.
_UNSUPPORTED = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "not",
    "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames",
    "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_SCHEMAS_BY_NAME = {"properties", "$defs", "definitions"}
_SCHEMA_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
#: The models whose answers name the stop string that ended them, in a field of their own.
_NAMES_STOPS = re.compile(r"anthropic\.claude-")


def converse_request(
    prompt: Prompt, model: str, call_id: str, terms: Terms = PLAIN
) -> dict[str, Any]:
    """Return the parameters of boto3's `converse`. Metadata are ids alone: no content."""
    base = terms.base or model
    can = terms.capabilities(base)
    system = [
        turn for turn in prompt.messages if turn.role == "system" and shows_text(turn.content)
    ]
    request: dict[str, Any] = {
        "modelId": model,
        # Roles must alternate, so turns of one role in a row are blocks of one message.
        "messages": [
            {"role": role, "content": _blocks(row)}
            for role, row in groupby(_chat(prompt, can), key=lambda turn: turn.role)
        ],
        "inferenceConfig": _inference_config(prompt, can),
        "requestMetadata": {CALL_KEY: call_id, **terms.labels},
    }
    if system:
        request["system"] = [*_blocks(system), *([CACHE_POINT] if terms.caches else [])]
    if terms.tier != "default":
        request["serviceTier"] = {"type": terms.tier}
    if "stopSequences" in request["inferenceConfig"] and _NAMES_STOPS.search(base):
        request["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    if output := _output_config(prompt, can, terms.effort):
        request["outputConfig"] = output
    return request


def count_request(prompt: Prompt, model: str, terms: Terms = PLAIN) -> dict[str, Any]:
    """Return the parameters of boto3's `count_tokens`, which takes no id of an inference profile.

    `model` is the id as the price list spells it.
    """
    converse = converse_request(prompt, model, "", terms)
    parts = {name: converse[name] for name in ("messages", "system") if name in converse}
    return {"modelId": Prices.packaged().bare(model), "input": {"converse": parts}}


def uncounted(prompt: Prompt, model: str, terms: Terms = PLAIN) -> int:
    """Return the most tokens of a prompt that CountTokens is not told of: those of its schema."""
    can = terms.capabilities(terms.base or model)
    schema = _output_schema(prompt, can)
    return 0 if schema is None else len(json.dumps(schema).encode()) + _TOKENS_PER_CALL


def enforces(request: dict[str, Any]) -> bool:
    """Return whether a request asks Bedrock to enforce a JSON Schema."""
    return "textFormat" in request.get("outputConfig", {})


def bounds(prompt: Prompt, model: str, terms: Terms = PLAIN) -> tuple[int, int]:
    """Return the most tokens a call can be billed for: of its prompt, and of its answer."""
    can = terms.capabilities(model)
    return most_tokens(prompt, can) + _TOKENS_PER_CALL, _max_tokens(prompt, can)


def _chat(prompt: Prompt, can: Capabilities) -> list[Turn]:
    """Return the turns of user and assistant as Bedrock takes them: none blank, a user's first."""
    turns = [
        turn
        for turn in turns_for(prompt, can)
        if turn.role != "system" and shows_text(turn.content)
    ]
    if turns and turns[0].role == "user":
        return turns
    return [Turn(role="user", content=_OPENING), *turns]


def _blocks(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [{"text": turn.content} for turn in turns]


def _inference_config(prompt: Prompt, can: Capabilities) -> dict[str, Any]:
    # Without maxTokens, Bedrock counts the model's longest answer against the account's quota.
    config: dict[str, Any] = {"maxTokens": _max_tokens(prompt, can)}
    if stops := sent_stops(prompt, can):
        config["stopSequences"] = stops
    if can.temperature:
        config["temperature"] = min(prompt.temperature, 1.0)
    if can.top_p and prompt.top_p < 1.0 and not (can.one_of_both and can.temperature):
        config["topP"] = prompt.top_p
    return config


def _max_tokens(prompt: Prompt, can: Capabilities) -> int:
    return can.answer_tokens(prompt.max_tokens + (REASONING_TOKENS if can.reasons else 0))


def _output_config(prompt: Prompt, can: Capabilities, effort: str) -> dict[str, Any]:
    """Return what is asked of the answer: the form of its text, and the effort."""
    config: dict[str, Any] = {"effort": effort} if effort in can.efforts else {}
    schema = _output_schema(prompt, can)
    if schema is not None:
        structure = {"jsonSchema": {"name": "answer", "schema": json.dumps(schema)}}
        config["textFormat"] = {"type": "json_schema", "structure": structure}
    return config


def _output_schema(prompt: Prompt, can: Capabilities) -> dict[str, Any] | None:
    """Return the schema for structured output; `None` if Bedrock cannot enforce the prompt's."""
    schema = enforced_schema(prompt, can)
    if schema is None:
        return None
    try:
        supported: dict[str, Any] = _supported(schema)
    except _FreeFormError:
        return None
    return None if is_refused(supported) else supported


class _FreeFormError(Exception):
    """The schema has an object with unnamed members: structured output would leave it empty."""


def _supported(schema: Any) -> Any:
    """Return the schema without unsupported keywords and with every object closed.

    Raises:
        _FreeFormError: Closing an object would change what it may hold.
    """
    if not isinstance(schema, dict):
        return schema
    supported = {
        keyword: _supported_value(keyword, value)
        for keyword, value in schema.items()
        if keyword not in _UNSUPPORTED
    }
    if "object" in (schema.get("type"), *_as_list(schema.get("type"))):
        named = schema.get("properties") or {}
        is_open = isinstance(schema.get("additionalProperties"), dict) or (
            "patternProperties" in schema
        )
        if not named or is_open or not named.keys() >= {*schema.get("required", ())}:
            raise _FreeFormError
        supported["additionalProperties"] = False
    return supported


def _supported_value(keyword: str, value: Any) -> Any:
    if keyword in _SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _supported(part) for name, part in value.items()}
    if keyword in _SCHEMA_LISTS:
        return [_supported(part) for part in _as_list(value)]
    return _supported(value) if keyword == "items" else value


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
