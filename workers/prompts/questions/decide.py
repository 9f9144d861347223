"""The prompts of `decide`.

A local model reads the state once and then scores the options of each question, so each question is
a branch of one prompt. A frontier model is asked all questions at once, for a JSON object in which
it states its probabilities.
"""

from __future__ import annotations

from typing import Any

from forebay.routing.jobs import Choice, Decide, Label, Predicate, Score
from forebay.routing.questions.questions import UNSURE
from forebay.workers.engines.engine import Branch, JsonSchema, Turn
from forebay.workers.prompts.classify import menu
from forebay.workers.prompts.turns import SPARE_TOKENS, instructions_and_text, system_and_user

AnyQuestion = Predicate | Choice | Score

MAX_STATED = 12  # options of a question whose probabilities an answer has room to state
TOKENS_PER_QUESTION, TOKENS_PER_OPTION = 12, 16  # of JSON around the names of options
BYTES_PER_TOKEN = 3  # of an option's name, at least

_UNSURE = Label(name=UNSURE, description="this cannot be told")

_LOCAL = (
    "Read the text and answer the question about it with the one option that fits best, exactly as "
    "it is written."
)
_REWORDED = "You answer questions about texts. Write nothing but the option that is right."
_FRONTIER = (
    "Decide questions about a text. For each question, state how probable each of its options is, "
    "as you would bet on it: probabilities from 0 to 1 that add up to 1. Leave out options below "
    "0.01. Answer with one JSON object: under the number of each question a list of its options, "
    'such as {{"q1": [{{"option": "yes", "probability": 0.93}}, {{"option": "no", "probability": '
    "0.07}}]}}. Write each option as it is written here, and nothing but the object.\n\n{questions}"
)


def local_turns(request: Decide) -> list[Turn]:
    """Return the turns that all questions share, for a local model."""
    return system_and_user(_LOCAL, f"Text:\n{request.state_text}")


def reworded_turns(request: Decide) -> list[Turn]:
    """Return the turns that all questions share, in the words of a second opinion."""
    return system_and_user(_REWORDED, request.state_text)


def branches(request: Decide) -> tuple[Branch, ...]:
    """Return for each question what follows the text, and the options to score."""
    return tuple(
        Branch(
            text=f"\n\nQuestion: {question.instructions}\n\nOptions:\n{_menu(question)}\n\nAnswer:",
            options=question.options,
        )
        for question in request.questions
    )


def reworded_branches(request: Decide) -> tuple[Branch, ...]:
    """Return the branches in the words of a second opinion, with the options in reverse order."""
    return tuple(
        Branch(
            text=f"\n\nChoose from:\n{_menu(question, -1)}\n\n{question.instructions}\nI choose:",
            options=question.options[::-1],
        )
        for question in request.questions
    )


def frontier_turns(request: Decide) -> list[Turn]:
    """Return the turns for a frontier model."""
    questions = "\n\n".join(
        f"{key(number)}: {question.instructions}\n{_menu(question)}"
        for number, question in enumerate(request.questions)
    )
    return instructions_and_text(_FRONTIER.format(questions=questions), request.state_text)


def local_constraint(request: Decide) -> None:
    """Return no constraint: each branch has one of its own."""


def frontier_constraint(request: Decide) -> JsonSchema:
    """Return the schema of the object in which a frontier model states its probabilities."""
    parts = {key(number): _stated(q) for number, q in enumerate(request.questions)}
    return JsonSchema(schema_=_closed_object(parts))


def max_tokens(request: Decide) -> int:
    """Return how many tokens the answer may have."""
    return SPARE_TOKENS + sum(map(_tokens, request.questions))


def key(number: int) -> str:
    """Return the key of a question in the JSON object: its own name may be anything."""
    return f"q{number + 1}"


def _menu(question: AnyQuestion, step: int = 1) -> str:
    """Return the options of a question, one a line; a step of -1 reverses their order."""
    labels = (*question.labels, _UNSURE) if question.unsure else question.labels
    return menu(labels[::step])


def _stated(question: AnyQuestion) -> dict[str, Any]:
    """Return the schema of the list of one question's options."""
    option = {"enum": list(question.options), "type": "string"}
    item = _closed_object({"option": option, "probability": {"type": "number"}})
    return {"type": "array", "items": item}


def _closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tokens(question: AnyQuestion) -> int:
    sizes = sorted((len(name.encode()) for name in question.options), reverse=True)[:MAX_STATED]
    options = sum(TOKENS_PER_OPTION + size // BYTES_PER_TOKEN for size in sizes)
    return TOKENS_PER_QUESTION + options
