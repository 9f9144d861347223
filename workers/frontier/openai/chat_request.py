"""A prompt as a request of OpenAI's chat completions, and the most tokens it can be billed for."""

from __future__ import annotations

import json
from typing import Any

from forebay.routing.limits.prices import Prices
from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import JsonSchema, Prompt
from forebay.workers.frontier.prefill import turns_for
from forebay.workers.frontier.stops import sent_stops
from forebay.workers.frontier.terms import Terms

#: Tokens for reasoning, above the prompt's own limit, for models that always reason.
REASONING_TOKENS = 4_096

# Upper bounds of the tokens of a turn and of a request that are not their text.
_TOKENS_PER_TURN, _TOKENS_PER_CALL = 16, 64


def chat_request(
    prompt: Prompt, model: str, endpoint: Endpoint, terms: Terms, *, stream: bool
) -> dict[str, Any]:
    """Return the body of a request; `model` is the service's own name of the model."""
    can = capabilities(terms.base or model, terms)
    request: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": turn.role, "content": turn.content}
            for turn in turns_for(prompt, can)
            if turn.content.strip()
        ],
        endpoint.max_tokens_field: _max_tokens(prompt, can),
    }
    if stops := sent_stops(prompt, can):
        request["stop"] = stops
    if can.temperature:
        request["temperature"] = prompt.temperature
    if can.top_p and prompt.top_p < 1.0 and not (can.one_of_both and can.temperature):
        request["top_p"] = prompt.top_p
    if terms.effort in can.efforts:
        request["reasoning_effort"] = terms.effort
    if terms.tier != "default":
        request["service_tier"] = terms.tier
    if can.structured_output and isinstance(prompt.constraint, JsonSchema):
        form = {"name": "answer", "schema": prompt.constraint.schema_}
        request["response_format"] = {"type": "json_schema", "json_schema": form}
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def bounds(prompt: Prompt, model: str, terms: Terms) -> tuple[int, int]:
    """Return the most tokens a call can be billed for: of its prompt, and of its answer.

    No tokenizer makes more tokens of a text than the text has bytes.
    """
    can = capabilities(model, terms)
    texts = [turn.content for turn in turns_for(prompt, can)]
    if isinstance(prompt.constraint, JsonSchema):
        texts.append(json.dumps(prompt.constraint.schema_))
    size = sum(len(text.encode()) + _TOKENS_PER_TURN for text in texts)
    return size + _TOKENS_PER_CALL, _max_tokens(prompt, can)


def capabilities(base: str, terms: Terms) -> Capabilities:
    """Return what the model can: as the terms say, else as the packaged price list says."""
    return terms.can or Prices.packaged().capabilities(base)


def _max_tokens(prompt: Prompt, can: Capabilities) -> int:
    return can.answer_tokens(prompt.max_tokens + (REASONING_TOKENS if can.reasons else 0))
