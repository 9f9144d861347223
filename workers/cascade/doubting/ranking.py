"""Ranking: the learned cascade, if a model of it is set, in the place of the doubt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

from forebay.routing.base import Kind
from forebay.routing.jobs import Doubt
from forebay.routing.learning.verdicts import features as job_features
from forebay.routing.scoring.cascade_model import CascadeModel, with_verdict
from forebay.routing.scoring.request_features import request_features
from forebay.workers.cascade.stages import ComparedAnswer
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
        """Return the ranking that the settings name, or `None` if they name none."""
        path: Path | None = settings.cascade_model
        return cls(CascadeModel.load(path), settings.cascade_kinds) if path else None

    def ranked(self, doubt: Doubt, compared: ComparedAnswer) -> Doubt:
        """Return the doubt with the cascade model's score, and that model's version."""
        applies = doubt.agreement is not None and compared.attempt.job.kind in self._kinds
        if not applies or self._model.others != 1:
            return doubt
        score = self._model.score(self._features(compared), [doubt.agreement or 0.0])
        return doubt.model_copy(update={"score": round(score, 6), "cascade": self._model.version})

    def _features(self, compared: ComparedAnswer) -> dict[str, float]:
        job, opinion = compared.attempt.job, compared.opinion
        assert opinion is not None
        verdict = compared.attempt.claim.record.verdict
        others = [as_text(opinion.raw.content)]
        question = request_features(job)[0]
        own = answer_features(
            question, as_text(compared.answer.content), others, [opinion.agreement or 0.0]
        )
        gap, probability = (verdict.score, verdict.probability) if verdict else NO_VERDICT
        known = with_verdict(own, gap, probability)
        wanted = set(self._model.features)
        return known if wanted <= known.keys() else {**job_features(job), **known}
