"""Answers of status 200 with a malformed field: billed, whatever the field holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: What replaces fields of Converse's body, by fault and by the field's path. `...` removes a field.
SPOILED: Mapping[str, Mapping[str, Any]] = {
    "usage_missing": {"usage": ...},
    "usage_null": {"usage": None},
    "usage_list": {"usage": []},
    "usage_text": {"usage": "none"},
    "input_missing": {"usage.inputTokens": ...},
    "input_negative": {"usage.inputTokens": -(10**9)},
    "input_text": {"usage.inputTokens": "12"},
    "input_true": {"usage.inputTokens": True},
    "output_missing": {"usage.outputTokens": ...},
    "output_negative": {"usage.outputTokens": -500},
    "output_zero": {"usage.outputTokens": 0},
    "total_negative": {"usage.totalTokens": -13},
    "output_null": {"usage.outputTokens": None},
    "output_float": {"usage.outputTokens": 12.7},
    "output_nan": {"usage.outputTokens": math.nan},
    "output_infinite": {"usage.outputTokens": math.inf},
    "output_huge": {"usage.outputTokens": 10**15},
    "output_digits": {"usage.outputTokens": 10**400},
    "cache_huge": {"usage.cacheReadInputTokens": 10**15},
    "input_beyond_the_prompt": {"usage.inputTokens": 9_999_999},
    "output_beyond_the_limit": {"usage.outputTokens": 9_000_000},
    "cache_beyond_the_prompt": {"usage.cacheReadInputTokens": 9_000_000},
    "total_too_small": {"usage.totalTokens": 1},
    "cache_negative": {"usage.cacheWriteInputTokens": -1},
    "cache_details_odd": {
        "usage.cacheWriteInputTokens": 5,
        "usage.cacheDetails": [{"ttl": "1h", "inputTokens": 50}],
    },
    "cache_details_text": {"usage.cacheDetails": "1h"},
    "tier_unpriced": {"serviceTier": {"type": "flex"}},
    "tier_unknown": {"serviceTier": {"type": "gold"}},
    "tier_batch": {"serviceTier": {"type": "batch"}},
    "tier_list": {"serviceTier": {"type": [1]}},
    "tier_text": {"serviceTier": "gold"},
    "stop_null": {"stopReason": None},
    "stop_missing": {"stopReason": ...},
    "stop_list": {"stopReason": ["end_turn"]},
    "stop_unknown": {"stopReason": "tired"},
    "output_field_missing": {"output": ...},
    "message_text": {"output.message": "We met."},
    "content_null": {"output.message.content": None},
    "content_text": {"output.message.content": "We met."},
    "content_object": {"output.message.content": {"text": "We met."}},
    "text_null": {"output.message.content": [{"text": None}]},
    "text_number": {"output.message.content": [{"text": 7}]},
    "surrogate": {"output.message.content": [{"text": "We met at noon. \ud83d"}]},
}


def hides_cost(fault: str) -> bool:
    """Return whether an answer with this fault does not tell what it costs."""
    return any(path.startswith(("usage", "serviceTier")) for path in SPOILED.get(fault, {}))


def spoil(body: dict[str, Any], fault: str) -> dict[str, Any]:
    """Return the body with the malformed fields of this fault; unchanged if it has none."""
    for path, value in SPOILED.get(fault, {}).items():
        *parents, name = path.split(".")
        holder = body
        for parent in parents:
            holder = holder[parent]
        if value is ...:
            del holder[name]
        else:
            holder[name] = value
    return body
