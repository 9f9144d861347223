"""The body of `POST /v1/decisions` as OpenAI's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr

from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.decisions.input_items import Input, state_of
from forebay.producers.gateway.decisions.parts import PartsText
from forebay.producers.gateway.wire import Body, Ignored, only
from forebay.routing.base import tagged_by
from forebay.routing.questions.questions import MAX_CHOICES, MAX_LEVELS, MAX_QUESTIONS

_TEXT_ONLY = "questions are about text and JSON; leave it out"
#: How this format calls the names of options.
_NAMES = {"choices": "value", "levels": "label"}


class _Question(Body):
    name: str | None = None
    instructions: PartsText


class PredicateQuestion(_Question):
    """How likely is it that the statement is true?"""

    type: Literal["predicate"]

    def options(self) -> dict[str, Any]:
        """Return the options as a question of a job has them."""
        return {}


class ChoiceOption(Body):
    """One of the options."""

    value: StrictStr | StrictBool
    description: str = ""

    @property
    def name(self) -> str:
        """The option as a model reads it."""
        return self.value if isinstance(self.value, str) else str(self.value).lower()


class ChoiceQuestion(_Question):
    """Which of these?"""

    type: Literal["choice"]
    choices: Annotated[list[ChoiceOption], Field(min_length=2, max_length=MAX_CHOICES)]

    def options(self) -> dict[str, Any]:
        """Return the options as a question of a job has them."""
        named = [{"name": one.name, "description": one.description} for one in self.choices]
        return {"choices": named}


class ScoreLevel(Body):
    """One of the levels."""

    label: str
    description: str = ""


class ScoreQuestion(_Question):
    """How much? The levels go from low to high; the lowest counts 0."""

    type: Literal["score"]
    levels: Annotated[list[ScoreLevel], Field(min_length=2, max_length=MAX_LEVELS)]

    def options(self) -> dict[str, Any]:
        """Return the options as a question of a job has them."""
        levels = [{"name": one.label, "description": one.description} for one in self.levels]
        return {"levels": levels}


Question = Annotated[
    PredicateQuestion | ChoiceQuestion | ScoreQuestion,
    Field(discriminator="type"),
    tagged_by("type"),
]


class DecisionRequest(Body):
    """The body of `POST /v1/decisions`."""

    input: Input
    model: str = Field(min_length=1, max_length=200)
    questions: Annotated[list[Question], Field(min_length=1, max_length=MAX_QUESTIONS)]
    forebay: Own | None = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    safety_identifier: Ignored = None
    audio: Annotated[Any, only([], why=_TEXT_ONLY)] = None
    videos: Annotated[Any, only([], why=_TEXT_ONLY)] = None

    def decide(self) -> dict[str, Any]:
        """Return the request of the job.

        Raises:
            InvalidRequest: The output of a tool belongs to no call before it.
        """
        questions = [
            {
                "type": one.type, "name": one.name or f"question {number}",
                "instructions": one.instructions, **one.options(),
            }
            for number, one in enumerate(self.questions, 1)
        ]  # fmt: skip
        return {"state": state_of(self.input), "questions": questions}

    def path(self, path: list[str]) -> list[str]:
        """Return the path of a field of the job as this format names it."""
        if path[0] == "state":
            return ["input", *path[1:]]
        if len(path) > 4 and path[4] == "name":  # noqa: PLR2004 - questions.0.choices.1.name
            path[4] = _NAMES.get(path[2], path[4])
        return path
