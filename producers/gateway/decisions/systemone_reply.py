"""A decision in the format of System One: answers by the names of the questions."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from forebay.producers.gateway.asking import origin
from forebay.producers.gateway.decisions.systemone_request import SystemOneRequest
from forebay.routing.jobs import Answer, Decisions, QuestionAnswer


class NoulAnswer(TypedDict):
    """The probability of yes."""

    type: Literal["noul"]
    noul: float


class NamedChoiceAnswer(TypedDict):
    """The most likely option, and the probabilities of all."""

    type: Literal["choice"]
    choice: str
    probabilities: dict[str, float]
    confidence: float


class NamedScoreAnswer(TypedDict):
    """The mean over the levels, what each level says, and the probabilities of all."""

    type: Literal["score"]
    score: float
    legend: dict[str, Any]
    probabilities: dict[str, float]
    confidence: float


class SystemOneUsage(TypedDict):
    """The tokens of a decision."""

    input_tokens: int
    output_tokens: int


class SystemOneResponse(TypedDict):
    """The response of `POST /v1/systemone`."""

    model: str
    answers: dict[str, NoulAnswer | NamedChoiceAnswer | NamedScoreAnswer]
    usage: SystemOneUsage
    forebay: origin.Origin


def response(body: SystemOneRequest, answer: Answer) -> SystemOneResponse:
    """Return the response of questions that were answered."""
    assert isinstance(answer.content, Decisions)
    pairs = zip(body.questions.values(), answer.content.answers, strict=True)
    return {
        "model": answer.model or "",
        "answers": {one.name: _answer(question, one) for question, one in pairs},
        "usage": {"input_tokens": answer.tokens_in, "output_tokens": answer.tokens_out},
        "forebay": origin.origin(answer),
    }


def _answer(
    question: Any, answer: QuestionAnswer
) -> NoulAnswer | NamedChoiceAnswer | NamedScoreAnswer:
    if answer.type == "predicate":
        return {"type": "noul", "noul": answer.probabilities["yes"]}
    if answer.type == "choice":
        return {
            "type": "choice", "choice": answer.chosen, "probabilities": answer.probabilities,
            "confidence": answer.confidence,
        }  # fmt: skip
    return {
        "type": "score", "score": answer.score or 0.0,
        "legend": {str(number): text for number, text in enumerate(question.criteria)},
        "probabilities": answer.probabilities, "confidence": answer.confidence,
    }  # fmt: skip
