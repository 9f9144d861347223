"""Prefills: the assistant's last turn, which an answer continues, under a constraint.

A service that enforces a form on a whole answer alone cannot enforce it on the rest of one. It is
asked for the whole answer once more, of which what was given already is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from forebay.workers.engines.engine import Prompt, Turn

_AGAIN = Turn(
    role="user",
    content="Your last message is the beginning of your answer. Write the whole answer, from the "
    "first character of that message on.",
)


def asking_again(prompt: Prompt) -> tuple[Turn, ...]:
    """Return the turns that ask for the whole answer, which begins with the prefill if any."""
    return prompt.messages if prompt.prefill is None else (*prompt.messages, _AGAIN)


def after(prefill: str, whole: str) -> str | None:
    """Return what follows the prefill in a whole answer; `None` if the answer begins otherwise.

    The spaces and line breaks between the parts of JSON may differ.
    """
    begun = prefill.lstrip()
    return next((form[len(begun) :] for form in _forms(whole) if form.startswith(begun)), None)


def _forms(text: str) -> Iterator[str]:
    """Yield the text as it is, and if it is JSON in the usual ways to write it."""
    yield text.lstrip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return
    yield json.dumps(data, ensure_ascii=False)
    yield json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    yield from (json.dumps(data, ensure_ascii=False, indent=width) for width in (2, 4))
