"""Read the probabilities that a frontier model states in JSON, question by question."""

from __future__ import annotations

import json
import math
from typing import Any

from forebay.routing.errors import BadAnswer
from forebay.routing.jobs import Choice, Decide, Decisions, Predicate, QuestionAnswer, Score
from forebay.routing.questions.decisions import answer_to
from forebay.workers.prompts.json_answers import document
from forebay.workers.prompts.questions.decide import key

MAX_ERROR = 0.1  # by which stated probabilities may miss a sum of 1, being rounded


def stated_decisions(request: Decide, text: str) -> Decisions:
    """Return the decisions that a text states.

    Raises:
        BadAnswer: The text is no such JSON, a question is missing, or its probabilities are none.
    """
    data = document(text, kind=dict).data
    if not isinstance(data, dict):
        raise BadAnswer("the answer is not a JSON object")
    answers = tuple(
        _answer(question, data.get(key(number)), key(number))
        for number, question in enumerate(request.questions)
    )
    return Decisions(answers=answers, basis="stated")


def as_stated(decisions: Decisions) -> str:
    """Return the text in which a frontier model would state these decisions."""
    stated = {
        key(number): [
            {"option": option, "probability": probability}
            for option, probability in answer.probabilities.items()
        ]
        for number, answer in enumerate(decisions.answers)
    }
    return json.dumps(stated, ensure_ascii=False)


def _answer(question: Predicate | Choice | Score, stated: Any, name: str) -> QuestionAnswer:
    if not isinstance(stated, list) or not stated:
        raise BadAnswer(f"{name} is not a list of options with their probabilities")
    weights = dict.fromkeys(question.options, 0.0)
    seen = set()
    for part in stated:
        option, probability = _pair(part, name)
        if option not in weights or option in seen:
            raise BadAnswer(f"{name} names an option that is not one of its options, or twice")
        seen.add(option)
        weights[option] = probability
    if abs(math.fsum(weights.values()) - 1) > MAX_ERROR:
        raise BadAnswer(f"the probabilities of {name} do not add up to 1")
    return answer_to(question, weights)


def _pair(part: Any, name: str) -> tuple[str, float]:
    """Return an option and its probability."""
    match part:
        case {"option": str() as option, "probability": int() | float() as probability}:
            if not isinstance(probability, bool) and 0 <= probability <= 1:
                return option, float(probability)
    raise BadAnswer(f"{name} has a part that is not an option with a probability from 0 to 1")
