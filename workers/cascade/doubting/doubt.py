"""Doubt: how likely is it that an answer which passed its checks is wrong all the same?"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import redis

from forebay.routing.base import changed, made
from forebay.routing.jobs import Classification, Content, Decisions, Doubt, Generation, Job
from forebay.routing.learning.agreement_rates import AgreementRates
from forebay.routing.learning.calibration import Calibration, Calibrations
from forebay.routing.learning.doubt_calibration import doubt_groups
from forebay.routing.learning.job_types import digest
from forebay.routing.learning.versions import Models
from forebay.routing.scoring.doubt_model import DoubtModel, Evidence, tie_break
from forebay.routing.scoring.relatives import near_relatives
from forebay.workers.cascade.doubting.ranking import Ranking
from forebay.workers.cascade.stages import ComparedAnswer, DoubtedAnswer
from forebay.workers.checks import final_answer

UNKNOWN_PROBABILITY = 0.5  # that a local answer will do, if there was no verdict


class Doubter:
    """Computes the doubt about answers.

    1. Gathers the evidence, and how often the two models agree on such jobs.
    2. Has the doubt model weigh it.
    3. Corrects the doubt by what audits taught (`forebay calibrate`).
    4. Gives the answer a score, by which it is ranked if a pace is set.
    """

    def __init__(self, client: redis.Redis, secret: bytes, ranking: Ranking | None = None) -> None:
        self._ranking = ranking
        self._models = Models(client, DoubtModel)
        self._rates = AgreementRates(client)
        self._calibrations = Calibrations(client)
        self._secret = secret

    def doubt(self, compared: ComparedAnswer) -> DoubtedAnswer:
        """Compute the doubt; none is computed for an answer that failed its checks."""
        if not compared.answer.passed:
            return DoubtedAnswer(compared, None)
        model = self._models.now()
        known = self._with_rate(evidence(compared), compared, model.usual_rate)
        several = known.agreements if len(known.agreements) > 1 else None
        doubt = made(
            Doubt,
            probability=model.probability(known),
            agreement=fmean(known.agreements) if known.agreements else None,
            agreements=several,
            second=_second(compared),
            version=model.version_for(known),
        )
        doubt = self._calibrated(doubt, compared)
        score = doubt.probability + tie_break(known.verdict_score)
        doubt = changed(doubt, score=round(score, 8))
        return DoubtedAnswer(
            compared, self._ranking.ranked(doubt, compared) if self._ranking else doubt
        )

    def _with_rate(self, known: Evidence, compared: ComparedAnswer, usual_rate: float) -> Evidence:
        """Add how often the two models agree, and count this answer for later ones."""
        if compared.opinion is None or not known.agreements:
            return known
        rates = []
        for opinion, agreement in zip(compared.opinion.readable, known.agreements, strict=True):
            job, models = compared.attempt.job, (compared.answer.raw.model, opinion.raw.model)
            pair = job.tenant, job.kind, *models
            rates.append(self._rates.rate(*pair, usual_rate))
            self._rates.count(*pair, agreement)
        return replace(known, rates=tuple(rates))

    def _calibrated(self, doubt: Doubt, compared: ComparedAnswer) -> Doubt:
        job = compared.attempt.job
        calibration = self._calibrations.of(job.tenant)
        if calibration is None or calibration.doubt is None:
            return doubt
        return _corrected(doubt, job, compared.answer.raw.model, calibration, self._secret)


def _corrected(
    doubt: Doubt, job: Job, model: str, calibration: Calibration, secret: bytes
) -> Doubt:
    """Return the doubt, corrected if the calibration is for this doubt model."""
    learned = calibration.doubt
    if learned is None or not learned.fits(doubt.version):
        return doubt
    second = doubt.second if doubt.agreement is not None else None
    groups = doubt_groups(job.kind, model, second, digest(job, secret))
    probability = learned.probability(doubt.probability, doubt.agreement, groups)
    bound = learned.bound(probability, groups)
    return doubt.model_copy(
        update={
            "probability": round(probability, 6),
            "base": round(doubt.probability, 6),
            "bound": None if bound is None else round(bound, 6),
            "version": f"{doubt.version}+{calibration.version}",
        }
    )


def evidence(compared: ComparedAnswer) -> Evidence:
    """Return what is known about an answer, as numbers."""
    record, answer, opinion = compared.attempt.claim.record, compared.answer, compared.opinion
    verdict, content = record.verdict, answer.content
    readable = opinion.readable if opinion else ()
    return Evidence(
        kind=record.kind,
        verdict_probability=verdict.probability if verdict else UNKNOWN_PROBABILITY,
        verdict_score=verdict.score if verdict else 0.0,
        agreements=tuple(each.agreement or 0.0 for each in readable),
        own=tuple(each.raw.revision == answer.raw.revision for each in readable),
        near=tuple(near_relatives(answer.raw.model, each.raw.model) for each in readable),
        bounded=bool(readable) and _is_bounded(content),
        low_logprob=answer.raw.low_logprob,
        label_probability=(
            content.probability if isinstance(content, Classification | Decisions) else None
        ),
    )


def _second(compared: ComparedAnswer) -> str | None:
    """Return the name of the model that gave the second answer, or both names."""
    opinion = compared.opinion
    if opinion is None:
        return None
    return " and ".join(each.raw.model for each in opinion.readable) or opinion.raw.model


def _is_bounded(content: Content | None) -> bool:
    """Return whether wrong answers are often the same, as labels and words are, and numbers not."""
    if isinstance(content, Generation):
        return not final_answer.is_number(content.text)
    return isinstance(content, Classification | Decisions)
