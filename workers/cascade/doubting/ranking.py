"""Ranking: the learned cascade, if a model of it is set, in the place of the doubt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

from forebay.routing.base import Kind
from forebay.routing.errors import Misconfigured
from forebay.routing.jobs import Doubt
from forebay.routing.learning.verdicts import features as job_features
from forebay.routing.scoring.cascade_model import CascadeModel, with_verdict
from forebay.routing.scoring.request_features import request_features
from forebay.workers.cascade.stages import ComparedAnswer, Opinion
from forebay.workers.checks.answer_features import answer_features, as_text
from forebay.workers.engines.settings import LocalSettings

#: A verdict that is missing, as features.
NO_VERDICT = 0.0, 0.5


class Ranking:
    """Ranks answers that had a second opinion by a cascade model.

    Answers of other kinds, and without a second opinion, keep their score.
    """

    def __init__(self, model: CascadeModel, kinds: Collection[Kind]) -> None:
        self._model = model
        self._kinds = frozenset(kinds)

    @classmethod
    def configured(cls, settings: LocalSettings) -> Self | None:
        """Return the ranking that the settings name, or `None` if they name none.

        Raises:
            Misconfigured: The file cannot be read, or is for another number of further answers.
        """
        if settings.cascade_model is None:
            return None
        model, taken = CascadeModel.load(settings.cascade_model), settings.second_opinions
        if model.others != taken:
            raise Misconfigured(
                f"was fitted to {model.others} further answers, and this worker takes {taken}: set "
                f"FOREBAY_SECOND_OPINIONS to {model.others}, or fit another model",
                field="FOREBAY_CASCADE_MODEL",
            )
        return cls(model, settings.cascade_kinds)

    def ranked(self, doubt: Doubt, compared: ComparedAnswer) -> Doubt:
        """Return the doubt with the cascade model's score, and that model's version."""
        opinions = compared.opinion.readable if compared.opinion else ()
        applies = compared.attempt.job.kind in self._kinds
        if not applies or self._model.others != len(opinions):
            return doubt
        agreements = [opinion.agreement or 0.0 for opinion in opinions]
        score = self._model.score(self._features(compared, opinions, agreements), agreements)
        return doubt.model_copy(update={"score": round(score, 6), "cascade": self._model.version})

    def _features(
        self, compared: ComparedAnswer, opinions: Sequence[Opinion], agreements: Sequence[float]
    ) -> dict[str, float]:
        job, verdict = compared.attempt.job, compared.attempt.claim.record.verdict
        others = [as_text(opinion.raw.content) for opinion in opinions]
        together = compared.opinion.together if compared.opinion else 1.0
        own = answer_features(
            request_features(job)[0], as_text(compared.answer.content), others, agreements, together
        )
        gap, probability = (verdict.score, verdict.probability) if verdict else NO_VERDICT
        known = with_verdict(own, gap, probability)
        wanted = set(self._model.features)
        return (
            known
            if wanted <= known.keys()
            else {**job_features(job, verdict.encoded if verdict else None), **known}
        )
