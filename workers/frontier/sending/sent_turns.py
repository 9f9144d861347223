"""The turns of a prompt as a frontier model is sent them, and the most tokens that they can be."""

from __future__ import annotations

import json
from typing import Any

from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn
from forebay.workers.engines.prefills import asking_again

_GO_ON = Turn(
    role="user",
    content="Continue your last message exactly where it ends. Write only what follows it.",
)
_TOKENS_PER_TURN = 16  # upper bound of the tokens of a turn that are not its text


def turns_for(prompt: Prompt, can: Capabilities) -> tuple[Turn, ...]:
    """Return the turns of a prompt; a model that takes no prefill is asked in words to go on.

    If it is to keep to a form, it is asked for the whole answer: see `begins_again`.
    """
    last = prompt.messages[-1]
    if last.role != "assistant":
        return prompt.messages
    if begins_again(prompt, can):
        return asking_again(prompt)
    if not can.prefill:
        return (*prompt.messages, _GO_ON)
    # A model that takes a prefill rejects one that ends with white space.
    return (*prompt.messages[:-1], Turn(role="assistant", content=last.content.rstrip()))


def begins_again(prompt: Prompt, can: Capabilities) -> bool:
    """Return whether the answer holds the assistant's last message again, and what follows it."""
    return prompt.prefill is not None and prompt.constraint is not None and not can.prefill


def enforced_schema(prompt: Prompt, can: Capabilities) -> dict[str, Any] | None:
    """Return the schema that a service can enforce on the answer: on a whole answer alone."""
    if not isinstance(prompt.constraint, JsonSchema) or not can.structured_output:
        return None
    return prompt.constraint.schema_ if prompt.prefill is None or not can.prefill else None


def most_tokens(prompt: Prompt, can: Capabilities) -> int:
    """Return the most tokens that the turns and the schema of a prompt can be.

    No tokenizer makes more tokens of a text than the text has bytes.
    """
    texts = [turn.content for turn in turns_for(prompt, can)]
    if isinstance(prompt.constraint, JsonSchema):
        texts.append(json.dumps(prompt.constraint.schema_))
    return sum(len(text.encode()) + _TOKENS_PER_TURN for text in texts)
