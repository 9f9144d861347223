"""What answers a `Decide` request: for each question the probability of each option."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from forebay.routing.base import FrozenModel, is_one
from forebay.routing.questions.questions import UNSURE, Choice, Predicate, Score

DIGITS = 6  # of probabilities and scores; more would say nothing and fill Redis

Probability = Annotated[float, Field(ge=0, le=1)]


class QuestionAnswer(FrozenModel):
    """The answer to one question.

    Attributes:
        name: the name of the question.
        type: the type of the question.
        chosen: the most probable option: `yes` or `no`, a choice, a level, or `unsure`.
        probabilities: the probability of each option, in the order of the options; together 1.
        score: the mean over the levels of a score, each weighted with its probability; `unsure`
            does not count. `None` for the other types.
        temperature: by which the probabilities were calibrated for this question, beside the
            temperature of all answers.
    """

    name: Annotated[str, Field(repr=False)]
    type: Literal["predicate", "choice", "score"]
    chosen: Annotated[str, Field(repr=False)]
    probabilities: Annotated[dict[str, Probability], Field(min_length=2, repr=False)]
    score: Annotated[float | None, Field(repr=False)] = None
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False, exclude_if=is_one)] = 1.0

    @property
    def probability(self) -> float:
        """The probability of what was chosen."""
        return self.probabilities.get(self.chosen, 0.0)

    @property
    def confidence(self) -> float:
        """How far the answer is from a guess: 0 if all options are even, 1 if one is certain.

        For a score, how narrow the probabilities lie around their mean.
        """
        shares = list(self.probabilities.values())
        if self.type == "score":
            return _narrowness([p for name, p in self.probabilities.items() if name != UNSURE])
        return max(0.0, (len(shares) * max(shares) - 1) / (len(shares) - 1))

    @property
    def certainty(self) -> float:
        """How likely the answer is right: the probability of the best option but `unsure`.

        A score may also be certain because its probabilities lie close together.
        """
        best = max(p for name, p in self.probabilities.items() if name != UNSURE)
        unsure = self.probabilities.get(UNSURE, 0.0)
        return max(best, self.confidence * (1 - unsure)) if self.type == "score" else best


class Decisions(FrozenModel):
    """The answers to all questions about a text or a state.

    `decisions["name"]` is the answer to the question of that name.

    Attributes:
        answers: one answer for each question, in the order of the questions.
        basis: where the probabilities come from: `scored` by a language model that chooses between
            the options, computed by the `similarity` of embeddings, or `stated` in words by a
            frontier model, which are rougher.
        temperature: by which the probabilities were calibrated; 1 if they are the model's own.
    """

    kind: Literal["decide"] = "decide"
    answers: Annotated[tuple[QuestionAnswer, ...], Field(min_length=1, repr=False)]
    basis: Literal["scored", "similarity", "stated"] = "scored"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def __getitem__(self, name: str) -> QuestionAnswer:
        """Return the answer to the question of this name.

        Raises:
            KeyError: No question has this name.
        """
        for answer in self.answers:
            if answer.name == name:
                return answer
        raise KeyError(name)

    @property
    def probability(self) -> float | None:
        """How certain the lane is of its least certain answer; `None` if it was only stated."""
        if self.basis == "stated":
            return None
        return min(answer.certainty for answer in self.answers)


def answer_to(question: Predicate | Choice | Score, weights: Mapping[str, float]) -> QuestionAnswer:
    """Return the answer to a question.

    Args:
        question: the question.
        weights: of each option; the probabilities are their shares, even ones if all are 0.
    """
    total = math.fsum(weights[option] for option in question.options)
    even = 1 / len(question.options)
    shares = {
        option: min(1.0, weights[option] / total) if total > 0 else even
        for option in question.options
    }
    chosen = max(shares, key=shares.__getitem__)
    return QuestionAnswer(
        name=question.name,
        type=question.type,
        chosen=chosen,
        probabilities={option: round(share, DIGITS) for option, share in shares.items()},
        score=_mean_score(question, shares) if isinstance(question, Score) else None,
    )


def _mean_score(question: Score, shares: Mapping[str, float]) -> float:
    levels = [shares[label.name] for label in question.labels]
    total = math.fsum(levels)
    if total <= 0:
        levels, total = [1.0] * len(levels), float(len(levels))
    mean = math.fsum(v * p for v, p in zip(question.values, levels, strict=True)) / total
    return round(mean, DIGITS)


def _narrowness(levels: list[float]) -> float:
    """Return 1 less the standard deviation over the largest that these levels allow."""
    total = math.fsum(levels)
    if total <= 0:
        return 0.0
    mean = math.fsum(place * p for place, p in enumerate(levels)) / total
    variance = math.fsum((place - mean) ** 2 * p for place, p in enumerate(levels)) / total
    return max(0.0, 1 - math.sqrt(variance) / ((len(levels) - 1) / 2))
