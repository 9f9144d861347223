"""The body of `POST /v1/systemone`: a state, and named questions about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from forebay.producers.gateway.asking.options import Own
from forebay.producers.gateway.decisions.parts import as_text
from forebay.producers.gateway.wire import Body, only
from forebay.routing.base import Short, tagged_by
from forebay.routing.questions.questions import MAX_CHOICES, MAX_LEVELS, MAX_QUESTIONS
from forebay.routing.questions.state import State

_TEXT_ONLY = "questions are about text and JSON; leave it out"


def _entry(value: Any) -> Any:
    """Return a text, or JSON as a model reads it."""
    return as_text(value) if isinstance(value, dict | list) else value


Entry = Annotated[
    str,
    BeforeValidator(_entry),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
]


class NoulCriteria(Body):
    """What a yes and a no mean."""

    true: Entry | None = None
    false: Entry | None = None


class Noul(Body):
    """Is it so?"""

    type: Literal["noul"]
    instructions: Entry | None = None
    criteria: NoulCriteria | None = None

    def question(self) -> dict[str, Any]:
        """Return the question as a job has it."""
        criteria = self.criteria or NoulCriteria()
        return {
            "type": "predicate", "instructions": self.instructions or "Is it so?",
            "yes": criteria.true or "", "no": criteria.false or "",
        }  # fmt: skip


class NamedChoice(Body):
    """Which of these?"""

    type: Literal["choice"]
    instructions: Entry | None = None
    criteria: Annotated[dict[Short, Entry | None], Field(min_length=2, max_length=MAX_CHOICES)]

    def question(self) -> dict[str, Any]:
        """Return the question as a job has it."""
        options = self.criteria.items()
        return {
            "type": "choice", "instructions": self.instructions or "Which of these fits best?",
            "choices": [{"name": name, "description": text or ""} for name, text in options],
        }  # fmt: skip


class NamedScore(Body):
    """How much? The levels go from low to high; the lowest counts 0."""

    type: Literal["score"]
    instructions: Entry | None = None
    criteria: Annotated[list[Entry], Field(min_length=2, max_length=MAX_LEVELS)]

    def question(self) -> dict[str, Any]:
        """Return the question as a job has it."""
        levels = enumerate(self.criteria)
        return {
            "type": "score", "instructions": self.instructions or "Which level fits best?",
            "levels": [{"name": str(number), "description": text} for number, text in levels],
        }  # fmt: skip


Question = Annotated[
    Noul | NamedChoice | NamedScore, Field(discriminator="type"), tagged_by("type")
]


class SystemOneRequest(Body):
    """The body of `POST /v1/systemone`."""

    state: State
    questions: Annotated[dict[Short, Question], Field(min_length=1, max_length=MAX_QUESTIONS)]
    model: str = Field(default="auto", min_length=1, max_length=200)
    forebay: Own | None = None
    images: Annotated[Any, only([], why=_TEXT_ONLY)] = None
    assets: Annotated[Any, only({}, why=_TEXT_ONLY)] = None
    audio: Annotated[Any, only([], why=_TEXT_ONLY)] = None
    videos: Annotated[Any, only([], why=_TEXT_ONLY)] = None

    def decide(self) -> dict[str, Any]:
        """Return the request of the job."""
        questions = [{"name": name, **one.question()} for name, one in self.questions.items()]
        return {"state": self.state, "questions": questions}

    def path(self, path: list[str]) -> list[str]:
        """Return the path of a field of the job as this format names it."""
        if path[0] != "questions" or len(path) < 3:  # noqa: PLR2004 - questions.0.FIELD
            return path
        name, field = list(self.questions)[int(path[1])], path[2]
        if field in {"yes", "no"}:
            return ["questions", name, "criteria", "true" if field == "yes" else "false"]
        if field in {"choices", "levels"}:
            return ["questions", name, "criteria", *path[3:4]]
        return ["questions", name, *path[2:]]
