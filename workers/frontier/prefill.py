"""A chat that ends with the assistant's message, for models that only answer a user."""

from __future__ import annotations

from forebay.routing.policy.capabilities import Capabilities
from forebay.workers.engines.engine import Prompt, Turn

_GO_ON = Turn(
    role="user",
    content="Continue your last message exactly where it ends. Write only what follows it.",
)


def turns_for(prompt: Prompt, can: Capabilities) -> tuple[Turn, ...]:
    """Return the turns of a prompt; a model that takes no prefill is asked in words to go on."""
    last = prompt.messages[-1]
    if last.role != "assistant":
        return prompt.messages
    if not can.prefill:
        return (*prompt.messages, _GO_ON)
    # A model that takes a prefill rejects one that ends with white space.
    return (*prompt.messages[:-1], Turn(role="assistant", content=last.content.rstrip()))
