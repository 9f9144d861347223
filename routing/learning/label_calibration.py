"""What audits taught about label probabilities: a temperature, by group.

Temperature scaling (Guo et al., arXiv 1706.04599) makes probabilities more or less even and leaves
their order. A group with few audits is corrected little (shrinkage).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import ConfigDict, Field

from forebay.routing.base import FrozenModel, Kind
from forebay.routing.jobs import Classification, Decide, Decisions, Job
from forebay.routing.questions.decisions import QuestionAnswer, answer_to
from forebay.routing.questions.questions import Question

MAX_GROUPS = 500  # of one calibration
MAX_LOG_TEMPERATURE = 2.0


class LabelCalibration(FrozenModel):
    """A correction of label probabilities by temperature scaling.

    Attributes:
        groups: by name of the group, what is added to the logarithm of the temperature.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    groups: dict[str, float] = Field(max_length=MAX_GROUPS)

    def temperature(self, groups: Sequence[str]) -> float:
        """Return the temperature; above 1 it makes probabilities more even."""
        total = math.fsum(self.groups.get(name, 0.0) for name in groups)
        return math.exp(max(-MAX_LOG_TEMPERATURE, min(MAX_LOG_TEMPERATURE, total)))


def label_groups(kind: Kind, model: str, job_type: str, question: str = "") -> tuple[str, ...]:
    """Return the groups of an answer with label probabilities, the largest first.

    `question` is the digest of the question that is answered, of a `decide` job.
    """
    groups = kind, f"{kind} by {model}", f"type {job_type}"
    return (*groups, f"question {question}") if question else groups


def tempered(shares: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Return probabilities at another temperature; their order stays."""
    powers = {name: share ** (1 / temperature) for name, share in shares.items()}
    total = math.fsum(powers.values()) or 1.0
    return {name: power / total for name, power in powers.items()}


def at_temperature(
    job: Job,
    content: Classification | Decisions,
    temperature: float,
    of_questions: Mapping[str, float] | None = None,
) -> Classification | Decisions:
    """Return the answer to a job with corrected probabilities; what was chosen stays.

    Args:
        job: the job.
        content: its answer, as the model gave it.
        temperature: of the answer.
        of_questions: by name of a question, a factor of its own.
    """
    update: dict[str, object] = {"temperature": round(temperature, 4)}
    if isinstance(content, Decisions):
        assert isinstance(job.request, Decide)
        questions = {question.name: question for question in job.request.questions}
        factors = of_questions or {}
        update["answers"] = tuple(
            _answer_at(questions[answer.name], answer, temperature, factors.get(answer.name, 1.0))
            for answer in content.answers
        )
    elif content.scores:
        scores = tempered(content.scores, temperature)
        update |= {"scores": scores, "probability": scores.get(content.label)}
    return content.model_copy(update=update)


def _answer_at(
    question: Question, answer: QuestionAnswer, temperature: float, factor: float
) -> QuestionAnswer:
    weights = tempered(answer.probabilities, temperature * factor)
    return answer_to(question, weights).model_copy(update={"temperature": round(factor, 4)})


def raw_shares(content: Classification | Decisions) -> list[tuple[str, dict[str, float]]]:
    """Return for each label or choice its name, and the probabilities before calibration.

    Scores are left out: a level beside the right one is neither right nor wrong.
    """
    undo = 1 / content.temperature
    if isinstance(content, Decisions):
        return [
            (answer.chosen, tempered(answer.probabilities, undo / answer.temperature))
            for answer in content.answers
            if answer.type != "score"
        ]
    return [(content.label, tempered(content.scores, undo))] if content.scores else []
