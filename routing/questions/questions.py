"""The questions of a `Decide` request: a yes or no, a choice, or a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from forebay.routing.base import FrozenModel, Short, tagged_by
from forebay.routing.errors import InvalidJob, TooLong
from forebay.routing.questions.labels import Label, LabelOrName, as_labels, distinct

MAX_QUESTIONS = 128  # of one request
MAX_OPTIONS = 1_024  # of all questions of one request together
MAX_CHOICES = 255  # of one question
MAX_LEVELS = 11  # of one score, so that it can go from 0 to 10
MAX_QUESTION_CHARS = 100_000  # of all questions together: instructions, labels and descriptions
MAX_SCORE = 1_000_000  # of a bound of a score, up or down

YES, NO, UNSURE = "yes", "no", "unsure"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class _Question(FrozenModel):
    """What the three types of questions share.

    Attributes:
        name: the name under which the answer comes back; no two questions of a request share it.
        instructions: the question, or a statement that may be true.
        unsure: also offer `unsure`, for a text from which the answer cannot be told.
    """

    name: Annotated[Short, Field(repr=False)]
    instructions: Annotated[
        str,
        StringConstraints(min_length=1, max_length=4_000),
        AfterValidator(_not_blank),
        Field(repr=False),
    ]
    unsure: bool = False

    @property
    def labels(self) -> tuple[Label, ...]:
        """The options without `unsure`, in their order."""
        raise NotImplementedError

    @property
    def options(self) -> tuple[str, ...]:
        """The names of all options in their order; `unsure` is the last, if it is offered."""
        names = tuple(label.name for label in self.labels)
        return (*names, UNSURE) if self.unsure else names

    @model_validator(mode="after")
    def _has_one_unsure(self) -> Self:
        if self.unsure and UNSURE in {label.name.casefold() for label in self.labels}:
            raise ValueError("has an option called unsure: remove it, or set unsure to false")
        return self


class Predicate(_Question):
    """Is it so? Answered with the probabilities of `yes` and `no`.

    Attributes:
        yes: what a yes means, if the instructions do not say it.
        no: what a no means.
    """

    type: Literal["predicate"] = "predicate"
    yes: Annotated[str, StringConstraints(max_length=2_000), Field(repr=False)] = ""
    no: Annotated[str, StringConstraints(max_length=2_000), Field(repr=False)] = ""

    @property
    def labels(self) -> tuple[Label, ...]:
        """See `_Question.labels`."""
        return (Label(name=YES, description=self.yes), Label(name=NO, description=self.no))


class Choice(_Question):
    """Which of these? Answered with the probability of each choice.

    Attributes:
        choices: 2 to 255 choices, each a name or a `Label`.
    """

    type: Literal["choice"] = "choice"
    choices: Annotated[
        Sequence[LabelOrName],
        Field(min_length=2, max_length=MAX_CHOICES, repr=False),
        AfterValidator(distinct),
    ]

    @property
    def labels(self) -> tuple[Label, ...]:
        """See `_Question.labels`."""
        return as_labels(tuple(self.choices))


class Score(_Question):
    """How much? Answered with the probability of each level, and the mean over the levels.

    The levels are either named in `levels`, or the whole numbers from `minimum` to `maximum`.

    Attributes:
        levels: 2 to 11 levels from the lowest to the highest, each a name or a `Label`. The score
            of the lowest is 0, of the next 1, and so on.
        minimum, maximum: the lowest and the highest score; 1 to 10 apart.
    """

    type: Literal["score"] = "score"
    levels: Annotated[
        Sequence[LabelOrName],
        Field(max_length=MAX_LEVELS, repr=False),
        AfterValidator(distinct),
    ] = ()
    minimum: Annotated[int | None, Field(ge=-MAX_SCORE, le=MAX_SCORE)] = None
    maximum: Annotated[int | None, Field(ge=-MAX_SCORE, le=MAX_SCORE)] = None

    @property
    def labels(self) -> tuple[Label, ...]:
        """See `_Question.labels`."""
        return as_labels(tuple(self.levels or map(str, self.values)))

    @property
    def values(self) -> tuple[int, ...]:
        """The score of each level, rising."""
        if self.minimum is None or self.maximum is None:
            return tuple(range(len(self.levels)))
        return tuple(range(self.minimum, self.maximum + 1))

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        bounds = (self.minimum, self.maximum)
        if self.levels and bounds != (None, None):
            raise ValueError("has levels, so it can have neither minimum nor maximum")
        if not self.levels and None in bounds:
            raise ValueError("needs levels, or both minimum and maximum")
        if len(self.levels) == 1:
            raise ValueError("needs at least 2 levels, not 1")
        if not self.levels and not 1 < len(self.values) <= MAX_LEVELS:
            raise ValueError(f"has a maximum that is not 1 to {MAX_LEVELS - 1} above its minimum")
        return self


Question = Annotated[Predicate | Choice | Score, Field(discriminator="type"), tagged_by("type")]


def checked_questions(questions: Sequence[Predicate | Choice | Score]) -> None:
    """Check the questions of one request together.

    Raises:
        InvalidJob: Two questions have the same name.
        TooLong: The questions have too many options or characters in all.
    """
    names = {question.name.strip().casefold() for question in questions}
    if len(names) < len(questions):
        raise InvalidJob("no two questions may have the same name", field="questions")
    if sum(len(question.options) for question in questions) > MAX_OPTIONS:
        raise TooLong(f"must have at most {MAX_OPTIONS} options in all", field="questions")
    if sum(map(_chars, questions)) > MAX_QUESTION_CHARS:
        message = f"must have at most {MAX_QUESTION_CHARS} characters in all"
        raise TooLong(message, field="questions")


def _chars(question: Predicate | Choice | Score) -> int:
    labels = question.labels
    texts = [text for label in labels for text in (label.name, label.description, *label.examples)]
    return len(question.instructions) + sum(map(len, texts))
