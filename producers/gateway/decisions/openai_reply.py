"""A decision as OpenAI's clients read it."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.asking.token_usage import TokenUsage, token_usage
from forebay.producers.gateway.decisions.openai_request import ChoiceQuestion, DecisionRequest
from forebay.routing.jobs import Answer, Decisions, QuestionAnswer


class PredicateAnswer(TypedDict):
    """How likely the statement is true."""

    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(TypedDict):
    """How likely one option is right."""

    value: str | bool
    probability: float


class ChoiceAnswer(TypedDict):
    """The most likely option, and the probabilities of all."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    probabilities: list[ChoiceProbability]
    confidence: float


class ScoreProbability(TypedDict):
    """How likely one level is right."""

    value: int
    label: str
    probability: float


class ScoreAnswer(TypedDict):
    """The mean over the levels, and the probabilities of all."""

    type: Literal["score"]
    name: str | None
    score: float
    probabilities: list[ScoreProbability]
    confidence: float


class Decision(TypedDict):
    """The response of `POST /v1/decisions`: the answers in the order of the questions."""

    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer]
    model: str
    usage: TokenUsage
    forebay: origin.Origin


def decision(body: DecisionRequest, answer: Answer) -> Decision:
    """Return the response of questions that were answered."""
    assert isinstance(answer.content, Decisions)
    pairs = zip(body.questions, answer.content.answers, strict=True)
    return {
        "answers": [_answer(question, one) for question, one in pairs],
        "model": answer.model or "",
        "usage": token_usage(answer.tokens_in, answer.tokens_out, answer.tokens_cached),
        "forebay": origin.origin(answer),
    }


def _answer(question: Any, answer: QuestionAnswer) -> PredicateAnswer | ChoiceAnswer | ScoreAnswer:
    shares = answer.probabilities
    if answer.type == "predicate":
        return {"type": "predicate", "name": question.name, "probability": shares["yes"]}
    if answer.type == "choice":
        return _choice(question, answer)
    levels = enumerate(shares.items())
    return {
        "type": "score", "name": question.name, "score": answer.score or 0.0,
        "probabilities": [{"value": i, "label": name, "probability": p} for i, (name, p) in levels],
        "confidence": answer.confidence,
    }  # fmt: skip


def _choice(question: ChoiceQuestion, answer: QuestionAnswer) -> ChoiceAnswer:
    values = {one.name: one.value for one in question.choices}
    shares = answer.probabilities.items()
    return {
        "type": "choice", "name": question.name, "choice": values[answer.chosen],
        "probabilities": [{"value": values[name], "probability": p} for name, p in shares],
        "confidence": answer.confidence,
    }  # fmt: skip
