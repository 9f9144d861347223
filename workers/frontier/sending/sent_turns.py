"""The turns of a prompt as a frontier model is sent them, and the most tokens that they can be."""

from __future__ import annotations

import json

from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import JsonSchema, Prompt, Turn

_GO_ON = Turn(
    role="user",
    content="Continue your last message exactly where it ends. Write only what follows it.",
)
_TOKENS_PER_TURN = 16  # upper bound of the tokens of a turn that are not its text


def turns_for(prompt: Prompt, can: Capabilities) -> tuple[Turn, ...]:
    """Return the turns of a prompt; a model that takes no prefill is asked in words to go on."""
    last = prompt.messages[-1]
    if last.role != "assistant":
        return prompt.messages
    if not can.prefill:
        return (*prompt.messages, _GO_ON)
    # A model that takes a prefill rejects one that ends with white space.
    return (*prompt.messages[:-1], Turn(role="assistant", content=last.content.rstrip()))


def most_tokens(prompt: Prompt, can: Capabilities) -> int:
    """Return the most tokens that the turns and the schema of a prompt can be.

    No tokenizer makes more tokens of a text than the text has bytes.
    """
    texts = [turn.content for turn in turns_for(prompt, can)]
    if isinstance(prompt.constraint, JsonSchema):
        texts.append(json.dumps(prompt.constraint.schema_))
    return sum(len(text.encode()) + _TOKENS_PER_TURN for text in texts)
