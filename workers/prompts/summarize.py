"""The prompts of `summarize`."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.routing.jobs import Summarize
from forebay.workers.engines.engine import Turn
from forebay.workers.prompts.turns import SPARE_TOKENS, instructions_and_text, system_and_user

TOKENS_PER_WORD = 1.6

_LOCAL = "Summarize the text in your own words."


def local_turns(request: Summarize) -> list[Turn]:
    """Return the turns for a local model."""
    return system_and_user(_LOCAL, *local_questions(request, [request.text]))


def local_questions(request: Summarize, texts: Iterable[str]) -> list[str]:
    """Return the content of the last turn for a local model, for each text."""
    focus = f" Say {request.focus}." if request.focus else ""
    asked = f"\n\nSummarize in at most {request.max_words} words.{focus}"
    return [f"Text:\n{text}{asked}" for text in texts]


def frontier_turns(request: Summarize) -> list[Turn]:
    """Return the turns for a frontier model."""
    focus = f" Focus: {request.focus}." if request.focus else ""
    instructions = (
        f"Summarize a text in its own language, in your own words, in at most {request.max_words} "
        f"words.{focus} Add no fact or figure that it does not contain. Answer with the summary "
        "alone."
    )
    return instructions_and_text(instructions, request.text)


def local_constraint(request: Summarize) -> None:
    """Return no constraint."""


def frontier_constraint(request: Summarize) -> None:
    """Return no constraint."""


def max_tokens(request: Summarize) -> int:
    """Return how many tokens the answer may have."""
    return SPARE_TOKENS + round(request.max_words * TOKENS_PER_WORD)
