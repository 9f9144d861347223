"""A prompt as a request of OpenAI's chat completions, and the most tokens it can be billed for."""

from __future__ import annotations

from typing import Any

from forebay.routing.policy.capabilities import Capabilities
from forebay.routing.policy.tables import Endpoint
from forebay.workers.engines.engine import Prompt
from forebay.workers.frontier.sending.sent_turns import enforced_schema, most_tokens, turns_for
from forebay.workers.frontier.sending.stops import sent_stops
from forebay.workers.frontier.terms import Terms

#: Tokens for reasoning, above the prompt's own limit, for models that always reason.
REASONING_TOKENS = 4_096

_TOKENS_PER_CALL = 64  # upper bound of the tokens of a request that are not those of its turns


def chat_request(
    prompt: Prompt, model: str, endpoint: Endpoint, terms: Terms, *, stream: bool
) -> dict[str, Any]:
    """Return the body of a request; `model` is the service's own name of the model."""
    can = terms.capabilities(terms.base or model)
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
    if (schema := enforced_schema(prompt, can)) is not None:
        form = {"name": "answer", "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": form}
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def bounds(prompt: Prompt, model: str, terms: Terms) -> tuple[int, int]:
    """Return the most tokens a call can be billed for: of its prompt, and of its answer."""
    can = terms.capabilities(model)
    return most_tokens(prompt, can) + _TOKENS_PER_CALL, _max_tokens(prompt, can)


def _max_tokens(prompt: Prompt, can: Capabilities) -> int:
    return can.answer_tokens(prompt.max_tokens + (REASONING_TOKENS if can.reasons else 0))
