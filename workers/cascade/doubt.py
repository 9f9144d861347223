"""Doubt: how likely is it that an answer which passed its checks is wrong all the same?"""

from __future__ import annotations

from forebay.routing.jobs import Classification, Decisions, Doubt
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence
from forebay.workers.cascade.stages import ComparedAnswer, DoubtedAnswer

UNKNOWN_PROBABILITY = 0.5  # that a local answer will do, if there was no verdict


class Doubter:
    """Gathers the evidence about an answer and has the doubt model weigh it."""

    def __init__(self) -> None:
        self._model = DoubtModel.load()

    def doubt(self, compared: ComparedAnswer) -> DoubtedAnswer:
        """Compute the doubt; none is computed for an answer that failed its checks."""
        if not compared.answer.passed:
            return DoubtedAnswer(compared, None)
        known, opinion = evidence(compared), compared.opinion
        doubt = Doubt(
            probability=self._model.probability(known),
            agreement=opinion.agreement if opinion else None,
            second=opinion.raw.model if opinion else None,
            version=self._model.version_for(known),
        )
        return DoubtedAnswer(compared, doubt)


def evidence(compared: ComparedAnswer) -> Evidence:
    """Return what is known about an answer, as numbers."""
    record, answer, opinion = compared.attempt.claim.record, compared.answer, compared.opinion
    verdict, content = record.verdict, answer.content
    agreement = opinion.agreement if opinion else None
    return Evidence(
        kind=record.kind,
        verdict_probability=verdict.probability if verdict else UNKNOWN_PROBABILITY,
        verdict_score=verdict.score if verdict else 0.0,
        agreements=() if agreement is None else (agreement,),
        low_logprob=answer.raw.low_logprob,
        label_probability=(
            content.probability if isinstance(content, Classification | Decisions) else None
        ),
    )
