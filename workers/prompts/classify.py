"""The prompts of `classify`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from forebay.routing.jobs import Classify, Label
from forebay.routing.questions.labels import as_labels
from forebay.workers.engines.engine import Choice, Turn
from forebay.workers.prompts.turns import SPARE_TOKENS, instructions_and_text, system_and_user

MAX_EXAMPLES = 3  # of each label

_LOCAL = "Read the text and answer with the one label that fits best, exactly as it is written."


def local_turns(request: Classify) -> list[Turn]:
    """Return the turns for a local model."""
    return system_and_user(_LOCAL, *local_questions(request, [request.text]))


def local_questions(request: Classify, texts: Iterable[str]) -> list[str]:
    """Return the content of the last turn for a local model, for each text."""
    asked = f"\n\nLabels:\n{_menu_of(tuple(request.labels))}\n\nLabel:"
    return [f"Text:\n{text}{asked}" for text in texts]


def frontier_turns(request: Classify) -> list[Turn]:
    """Return the turns for a frontier model."""
    instructions = (
        "Classify a text. Answer with exactly one of these labels, written as here, and nothing "
        f"else:\n{menu(request.options)}"
    )
    return instructions_and_text(instructions, request.text)


def local_constraint(request: Classify) -> Choice:
    """Return the constraint on a local model: one of the labels."""
    return _choice(tuple(option.name for option in request.options))


@lru_cache(maxsize=64)
def _choice(labels: tuple[str, ...]) -> Choice:
    """Return the constraint, which is the same for all jobs with these labels."""
    return Choice(options=labels)


def frontier_constraint(request: Classify) -> None:
    """Return no constraint: a frontier model is told the labels, and the answer is checked."""


def max_tokens(request: Classify) -> int:
    """Return how many tokens the answer may have."""
    return SPARE_TOKENS + max(len(option.name.encode()) for option in request.options)


@lru_cache(maxsize=64)
def _menu_of(labels: tuple[str | Label, ...]) -> str:
    """Return the menu, which is the same for all jobs with these labels; bare names hash fast."""
    return menu(as_labels(labels))


def menu(options: Sequence[Label]) -> str:
    """Return the labels to choose from, one a line, with descriptions and examples."""
    return "\n".join(_menu_line(option) for option in options)


def _menu_line(option: Label) -> str:
    examples = "".join(f'\n  e.g. "{example}"' for example in option.examples[:MAX_EXAMPLES])
    return f"- {option.name}{': ' if option.description else ''}{option.description}{examples}"
